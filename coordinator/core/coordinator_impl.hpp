#pragma once

// Inside of the transaction core. One class, one room per concern:
//
//   transaction_coordinator.cpp  the turn: time, apply, take_actions
//   leadership.cpp               winning and losing it, resuming, refused appends
//   requests.cpp                 begin, enlist, decide, operator requests, participants' registry
//   reads.cpp                    get, list, inquiry, barriers, waiting clients
//   proposals.cpp                every command that goes to the log
//   voting.cpp                   PREPARE, votes, one-phase commit
//   delivery.cpp                 calls and retries, delivery of decisions, END
//   quorum_commit.cpp            quorum 3PC after the votes
//
// Lifetime: a VolatileTransaction lives in `transactions_`, keyed by its own xid, from the request
// (or from resuming) until `recent_` drops it. Timers, queued calls, the age list and origins point
// to it; all of them let go when it finishes or when leadership is lost.

#include "coordinator/core/call_scheduler.hpp"
#include "coordinator/core/random.hpp"
#include "coordinator/core/replicated_state.hpp"
#include "coordinator/core/timer_queue.hpp"
#include "coordinator/core/transaction_coordinator.hpp"
#include "coordinator/core/volatile_transaction.hpp"

#include <deque>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace concordat::core {

class TransactionCoordinator::Impl {
public:
    explicit Impl(CoordinatorOptions options);

    void advance(Instant now, WallTime wall);
    void request(RequestToken token, ClientRequest&& request);
    void forget_request(RequestToken token);
    void call_result(CallResult&& result);
    void became_leader();
    void lost_leadership(std::optional<NodeId> leader);
    void append_failed(bool leadership_lost);
    void apply(LogIndex index, std::vector<Command>&& commands);
    void restore(SnapshotContent&& content);
    Actions take_actions();
    [[nodiscard]] std::optional<Instant> next_timer() const;
    [[nodiscard]] const ReplicatedState& state() const noexcept { return state_; }
    [[nodiscard]] CoordinatorFigures figures() const;
    [[nodiscard]] bool is_serving() const noexcept { return standing_ == Standing::serving; }

private:
    /// elected: leader whose LeaderEpoch is not applied yet.
    enum class Standing : std::uint8_t { follower, elected, serving };

    /// What an append contains, so that it can be made again when the log refuses a turn. Frequent
    /// commands are built anew from the transaction; `other` ones are rare and kept as a copy.
    struct Origin {
        enum class Kind : std::uint8_t {
            other,
            barrier,
            epoch,
            begin,
            enlist,
            precommit,
            decide,
            end
        };
        Kind kind = Kind::other;
        VolatileTransaction* transaction = nullptr;
        BranchNumber branch;
        std::shared_ptr<const Command> copy;
    };

    /// A request that is answered when a log entry of this leadership is applied.
    struct TurnWaiter {
        enum class Kind : std::uint8_t {
            read,        ///< changes nothing: ask again after the barrier
            transaction, ///< answer with the transaction `xid`
            inquiry,     ///< answer with the outcome of `xid`
            ballot,      ///< answer with what the group's acceptor says to the request
            acknowledge  ///< answer Acknowledged
        };
        RequestToken token;
        Kind kind = Kind::read;
        Xid xid;
        std::unique_ptr<ClientRequest> request; ///< read, ballot
    };
    using TurnWaiters = std::vector<TurnWaiter>;

    /// An entry that was appended and is not applied yet.
    struct Turn {
        TurnWaiters waiters;
        std::shared_ptr<const Command> first_if_rare; ///< tells it from the shell's audit entries
    };

    // ---- transaction_coordinator.cpp
    void fire(const TimerEvent& event);
    void apply_one(LogIndex index, Command&& command);
    void react(std::size_t alternative, const Applied& effect);
    [[nodiscard]] bool is_from_shell(const std::vector<Command>& commands) const;
    void settle_turn();
    void flush_lazy_ends();
    void take_append(Actions& actions);
    void take_calls(Actions& actions);
    void mark_old_transactions();

    // ---- leadership.cpp
    void start_serving();
    void resume(TransactionRecord& record);
    void drop_leadership_state();
    void answer_waiters_on_loss();
    void answer_on_loss(const VolatileTransaction& transaction, const Waiter& waiter);
    void append_again(const Origin& origin);

    // ---- requests.cpp
    void begin(RequestToken token, BeginRequest&& request);
    [[nodiscard]] std::optional<Rejected> check_begin(const BeginRequest& request) const;
    [[nodiscard]] std::optional<Rejected> check_branch(const BranchSpec& branch) const;
    [[nodiscard]] bool answer_known_begin(RequestToken token, const BeginRequest& request);
    void attach_begin(RequestToken token, const BeginRequest& request, const Xid& xid,
                      bool same_request, RejectCode mismatch);
    void create(RequestToken token, BeginRequest&& request);
    [[nodiscard]] Xid next_server_xid();
    void enlist(RequestToken token, EnlistRequest&& request, bool confirmed);
    void decide(RequestToken token, DecideRequest&& request, bool confirmed);
    void decide_live(RequestToken token, DecideRequest&& request, VolatileTransaction& transaction);
    void abort_on_request(VolatileTransaction& transaction, const DecideRequest& request);
    void retry(RequestToken token, RetryRequest&& request, bool confirmed);
    void put_participant(RequestToken token, PutParticipantRequest&& request);
    void remove_participant(RequestToken token, RemoveParticipantRequest&& request);
    [[nodiscard]] bool is_in_use(const ParticipantName& name) const;

    // ---- reads.cpp
    void get(RequestToken token, GetRequest&& request, bool confirmed);
    void list(RequestToken token, const ListRequest& request);
    [[nodiscard]] bool matches(const TransactionRecord& record, const ListRequest& request) const;
    void inquire(RequestToken token, const InquiryRequest& request);
    void read_after_barrier(RequestToken token, ClientRequest&& request);
    void run_read(RequestToken token, ClientRequest&& request);
    void wait_for_turn(RequestToken token, TurnWaiter::Kind kind, const Xid& xid);
    void add_waiter(VolatileTransaction& transaction, Waiter waiter,
                    std::optional<Duration> wait_limit);
    [[nodiscard]] bool is_satisfied(const Waiter& waiter, const TransactionRecord& record) const;
    void settle_waiters(VolatileTransaction& transaction);
    void answer(const Waiter& waiter, const TransactionRecord& record, bool pending);
    void wait_limit_passed(VolatileTransaction& transaction, RequestToken token);
    [[nodiscard]] bool has_room_for_waiter(RequestToken token);
    void reply(RequestToken token, Reply&& reply);
    void reject(RequestToken token, RejectCode code, std::string detail,
                std::optional<Xid> xid = std::nullopt);
    [[nodiscard]] Rejected no_leader() const;
    void reply_transaction(RequestToken token, const TransactionRecord& record, bool pending,
                           bool created, bool with_timeline);

    // ---- proposals.cpp
    void propose(Command&& command, Origin origin);
    void propose_begin(VolatileTransaction& transaction);
    void propose_enlist(VolatileTransaction& transaction, BranchNumber branch);
    void propose_rare(Command&& command);
    void propose_decision(VolatileTransaction& transaction, Outcome outcome, DecisionReason reason,
                          std::string detail);
    /// Says whether any branch must be told.
    bool append_decision(VolatileTransaction& transaction);
    void propose_precommit(VolatileTransaction& transaction);
    void propose_end(VolatileTransaction& transaction);
    void propose_end_now(VolatileTransaction& transaction);
    void propose_audit(std::string who, std::string action, std::string object, std::string why);
    [[nodiscard]] static std::size_t cost_of(const Command& command);

    // ---- voting.cpp
    void add_branch(VolatileTransaction& transaction, BranchSpec spec);
    void start_voting(VolatileTransaction& transaction);
    void prepare_answered(VolatileTransaction& transaction, VolatileBranch& branch,
                          CallResult& result);
    void one_phase_answered(VolatileTransaction& transaction, VolatileBranch& branch,
                            CallResult& result);
    void voted(VolatileTransaction& transaction, VolatileBranch& branch, Vote vote,
               std::string reason);
    void all_votes_are_in(VolatileTransaction& transaction);
    void deadline_passed(VolatileTransaction& transaction);
    [[nodiscard]] bool may_abort(const VolatileTransaction& transaction) const;
    void on_begun(VolatileTransaction& transaction, const TransactionRecord& record);

    // ---- delivery.cpp
    void start_operation(VolatileTransaction& transaction, VolatileBranch& branch,
                         Operation operation);
    void stop_calling(VolatileBranch& branch);
    void enqueue(VolatileBranch& branch);
    [[nodiscard]] bool fill_call(VolatileTransaction& transaction, VolatileBranch& branch,
                                 ParticipantCall& call);
    void fill_termination(const VolatileTransaction& transaction, const VolatileBranch& branch,
                          ParticipantCall& call) const;
    void call_again_later(VolatileTransaction& transaction, VolatileBranch& branch,
                          std::string detail, std::optional<Duration> retry_after = std::nullopt);
    void call_again_later(VolatileTransaction& transaction, VolatileBranch& branch,
                          CallResult& result);
    void on_decided(VolatileTransaction& transaction, const TransactionRecord& record);
    void delivery_answered(VolatileTransaction& transaction, VolatileBranch& branch,
                           CallResult& result);
    void acknowledged(VolatileTransaction& transaction, VolatileBranch& branch);
    [[nodiscard]] static bool needs_no_delivery(const VolatileBranch& branch, Outcome outcome);
    void alarm(VolatileTransaction& transaction, VolatileBranch& branch, std::string detail);
    void on_ended(VolatileTransaction& transaction);
    void give_up_abort_delivery(VolatileTransaction& transaction);
    void keep_as_recent(VolatileTransaction& transaction);

    // ---- quorum_commit.cpp
    void on_precommitted(VolatileTransaction& transaction);
    void pre_commit_answered(VolatileTransaction& transaction, VolatileBranch& branch,
                             CallResult& result);
    void learn_answered(VolatileTransaction& transaction, VolatileBranch& branch,
                        CallResult& result);
    void participants_decided(VolatileTransaction& transaction, VolatileBranch& branch,
                              Outcome outcome);
    void promise_or_accept(RequestToken token, ClientRequest&& request);
    void answer_ballot(RequestToken token, const ClientRequest& request);
    void decide_if_quorum_accepted(VolatileTransaction& transaction);

    // ---- shared
    VolatileTransaction& insert(Xid xid);
    [[nodiscard]] VolatileTransaction* find_live(const Xid& xid);
    [[nodiscard]] VolatileTransaction* find_known(const Xid& xid);
    [[nodiscard]] const VolatileTransaction* find_known(const Xid& xid) const;
    void link_by_age(VolatileTransaction& transaction);
    void unlink_by_age(VolatileTransaction& transaction);
    void note(VolatileTransaction& transaction, EventKind kind,
              const VolatileBranch* branch = nullptr, std::string detail = {});

    CoordinatorOptions options_;
    ReplicatedState state_;
    JitterSource jitter_;
    CapabilitySource capabilities_;

    Standing standing_ = Standing::follower;
    std::optional<NodeId> known_leader_;
    std::uint64_t epoch_nonce_ = 0;
    std::uint32_t generation_ = 0; ///< leaderships of this process; part of attempt numbers
    std::uint64_t sequence_ = 0;   ///< of server-made xids in this epoch
    Instant now_{};
    WallTime wall_{};

    // Keys are views of the transactions' own xids.
    std::unordered_map<std::string_view, std::unique_ptr<VolatileTransaction>> transactions_;
    std::unordered_map<std::string_view, VolatileTransaction*> keys_in_flight_;
    std::unordered_map<RequestToken, VolatileTransaction*> waiting_tokens_;
    std::unordered_set<ParticipantName> being_removed_;
    std::deque<VolatileTransaction*> recent_; ///< finished, oldest first
    VolatileTransaction* oldest_ = nullptr;
    VolatileTransaction* youngest_ = nullptr;
    VolatileTransaction* oldest_unmarked_ = nullptr; ///< first without the attention mark

    TimerQueue timers_;
    CallScheduler calls_;

    std::vector<Command> append_;
    std::vector<Origin> append_origins_; ///< parallel to append_
    std::vector<Origin> taken_origins_;  ///< of the append that was taken last
    std::size_t append_cost_bytes_ = 0;
    std::optional<Instant> append_held_until_; ///< after the log refused a turn
    std::vector<VolatileTransaction*> lazy_ends_;
    Instant lazy_ends_since_{};
    bool barrier_needed_ = false;
    TurnWaiters turn_waiters_; ///< of the entry being collected
    std::deque<Turn> turns_;   ///< appended entries of this leadership, oldest first
    std::size_t turn_waiters_total_ = 0;
    std::vector<std::pair<RequestToken, Reply>> replies_;

    std::size_t live_ = 0;
    std::size_t undecided_ = 0;
    std::size_t attention_ = 0;
    CoordinatorFigures figures_;
};

} // namespace concordat::core
