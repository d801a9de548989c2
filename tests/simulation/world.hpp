#pragma once

// One simulated run of the whole: a coordinator group whose members change, participants, clients,
// and a network between them. Trouble and rest take turns: first everything goes wrong that may go
// wrong; then the faults heal, and the run must come to rest with every promise kept. The ledger
// checks the invariants all along.
//
// world.cpp: composition and phases; network.cpp: what travels; clients.cpp: who asks;
// group.cpp: members that come and go; trouble.cpp: the schedule of faults; story.cpp: lines for a
// reader.

#include "tests/simulation/faults.hpp"
#include "tests/simulation/ledger.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/participant.hpp"
#include "tests/simulation/timeline.hpp"

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace concordat::simulation {

inline constexpr const char* participant_names[] = {"alpha", "beta", "gamma", "delta"};

struct Figures {
    std::uint64_t fingerprint = 0; ///< same seed, same fingerprint
    Milliseconds simulated = 0;
    std::size_t committed = 0;
    std::size_t aborted = 0;
    FaultCounts faults;
};

/// How long a run takes. The default is that of the test suite.
struct Length {
    unsigned cycles = 4; ///< of trouble and rest
    Milliseconds trouble = 40'000;
};

class World final : private NodeHost, private ParticipantHost {
public:
    /// With a sink, every step of the run is told to it.
    World(std::uint64_t seed, Bug bug, TraceSink sink = {}, Length length = {});

    /// Throws Violation.
    Figures run();

private:
    static constexpr std::size_t first_members = 3;
    static constexpr std::size_t most_members = 5;
    static constexpr Milliseconds longest_recovery = 120'000;

    /// A client's way through one transaction: it asks until it is told the outcome, then asks
    /// again now and then.
    struct Order {
        enum class Step : std::uint8_t { begin, enlist, decide, poll, read, done };
        Step step = Step::begin;
        core::BeginRequest begin;
        std::optional<core::Xid> xid; ///< nothing until the server has named it
        std::vector<core::BranchSpec> to_enlist;
        std::size_t enlisted = 0;
        core::Outcome wanted = core::Outcome::committed;
        std::size_t reads_left = 0;
        log::Peer asked = 0; ///< the node that was asked last
    };
    struct PendingRequest {
        enum class Kind : std::uint8_t { order, registration, inquiry, reuse, interference };
        Kind kind = Kind::order;
        std::string name; ///< of the order or the participant
        std::string xid;  ///< empty: not known yet
        log::Peer node = 0;
        bool is_read = false;
        std::optional<core::Outcome> wanted;          ///< of a request to decide
        std::function<void(const core::Reply&)> hear; ///< of a participant
        Ledger::Knowledge known; ///< what a read that starts now must not contradict
    };
    /// One voter more, one less, or one instead of another.
    struct MemberChange {
        std::optional<log::Peer> add;
        std::optional<log::Peer> remove;
        Fault kind = Fault::voter_added;
        bool remove_first = false;
    };

    // NodeHost and ParticipantHost.
    Timeline& timeline() override { return timeline_; }
    const Weather& weather() const override { return weather_; }
    Bug bug() const override { return bug_; }
    Ledger& ledger() override { return ledger_; }
    void send(log::Message message) override;
    void call(log::Peer node, core::ParticipantCall call) override;
    void reply(log::Peer node, core::RequestToken token, core::Reply reply) override;
    void leads(log::Peer node, log::Term term) override;
    void applied(const log::Entry& entry, const std::vector<core::Command>& commands) override;
    void installed(log::Peer node) override;
    void failed(log::Peer node) override;
    bool faults_are_on() const override { return faults_on_; }
    std::vector<std::string> coordinators() const override;
    void ask_coordinator(const std::string& url, core::ClientRequest request,
                         std::function<void(const core::Reply&)> answer) override;
    void send(const std::string& to, std::function<void(Participant&)> action) override;
    void tell_applied(const core::Command& command);

    void bring_up();
    void register_participants();
    void come_to_rest();
    // Clients.
    void place_orders();
    void place_order();
    [[nodiscard]] Order make_order(const std::string& name);
    void interfere(const std::string& name);
    void reuse_something();
    void proceed(const std::string& name);
    void ask(log::Peer node, PendingRequest pending, core::ClientRequest request);
    void check_reply(const PendingRequest& pending, const core::Reply& reply);
    void answered(const PendingRequest& pending, const core::Reply& reply);
    void answered_order(const PendingRequest& pending, const core::Reply& reply);
    void answered_transaction(Order& order, const core::TransactionReply& reply);
    void told(Order& order, core::Outcome outcome);
    void rejected(Order& order, const PendingRequest& pending, const core::Rejected& reply);
    static void give_up_enlisting(Order& order);
    void try_again(const std::string& name);
    // The group.
    log::Peer new_node(log::PersistedState first);
    void start_node(log::Peer id);
    void tend_group();
    void change_group();
    void retire(log::Peer id);
    [[nodiscard]] bool may_change_group() const;
    [[nodiscard]] bool is_voter(log::Peer id) const;
    [[nodiscard]] bool knows_that_it_is_voter(log::Peer id) const;
    [[nodiscard]] log::Peer leader() const; ///< 0: none that it can see
    [[nodiscard]] bool is_on_majority(const log::Entry& entry) const;
    // Faults.
    void make_trouble();
    void one_fault();
    void cut_power_of(log::Peer id);
    void cut_all_power();
    void kill_node(log::Peer id);
    void crash_participant();
    void cut_network(bool one_way);
    void pause_node();
    void slow_disk();
    void fill_disk();
    void fail_disk();
    void damage_disk(Fault kind);
    void jump_clock();
    void transfer_leadership();
    void change_weather();
    void heal();
    // Rest.
    [[nodiscard]] std::string unrest() const; ///< empty at rest
    [[nodiscard]] std::string describe() const;

    [[nodiscard]] Node& node(log::Peer id) { return *nodes_[id - 1]; }
    [[nodiscard]] const Node& node(log::Peer id) const { return *nodes_[id - 1]; }
    [[nodiscard]] log::Peer some_voter() { return voters_[timeline_.pick(voters_.size())].id; }
    [[nodiscard]] bool is_lost();
    [[nodiscard]] Milliseconds delay();

    Timeline timeline_;
    Bug bug_;
    Length length_;
    Weather weather_;
    Ledger ledger_;
    std::vector<std::unique_ptr<Node>> nodes_; ///< all that ever were, by id
    std::set<log::Peer> gone_;                 ///< refused their files, or were removed
    std::vector<log::VotingMember> voters_;    ///< of the last committed configuration
    log::Index voters_index_ = 0;
    std::deque<MemberChange> changes_; ///< the first one is under way
    std::map<std::string, std::unique_ptr<Participant>> participants_;
    std::map<std::pair<log::Peer, log::Peer>, bool> cuts_;
    std::map<std::pair<log::Peer, log::Peer>, Milliseconds> last_arrival_;
    std::map<std::uint64_t, PendingRequest> pending_; ///< by token
    std::map<std::string, Order> orders_;             ///< by name
    std::vector<std::string> finished_orders_;
    std::set<std::string> registered_;
    std::uint64_t last_token_ = 0;
    std::uint64_t last_order_ = 0;
    bool faults_on_ = false;
};

} // namespace concordat::simulation
