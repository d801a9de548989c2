// Requests that change something: begin, enlist, decide, operator actions, the registry.

#include "coordinator/core/assert.hpp"
#include "coordinator/core/coordinator_impl.hpp"
#include "coordinator/core/views.hpp"

namespace concordat::core {
namespace {

constexpr std::size_t max_idempotency_key_bytes = 255;
constexpr std::size_t max_metadata_entries = 64;
constexpr Duration overload_retry_after = std::chrono::seconds{1};

const SharedBytes& no_payload() {
    static const SharedBytes empty = std::make_shared<const std::string>();
    return empty;
}

Rejected rejected(RejectCode code, std::string detail) {
    return Rejected{code, std::move(detail), std::nullopt, std::nullopt, std::nullopt};
}

} // namespace

// --------------------------------------------------------------------------------------- begin

void TransactionCoordinator::Impl::begin(RequestToken token, BeginRequest&& request) {
    if (answer_known_begin(token, request)) {
        return;
    }
    if (auto refusal = check_begin(request)) {
        refusal->xid = request.xid;
        reply(token, std::move(*refusal));
        return;
    }
    create(token, std::move(request));
}

/// The same request again gets the recorded outcome, a different one under the same name is
/// refused.
bool TransactionCoordinator::Impl::answer_known_begin(RequestToken token,
                                                      const BeginRequest& request) {
    if (!request.idempotency_key.empty()) {
        const Xid* xid = nullptr;
        const Digest* digest = nullptr;
        const auto in_flight = keys_in_flight_.find(request.idempotency_key);
        if (in_flight != keys_in_flight_.end()) {
            xid = &in_flight->second->xid;
            digest = &in_flight->second->digest;
        } else if (const auto* known = state_.find_idempotency(request.idempotency_key)) {
            xid = &known->xid;
            digest = &known->digest;
        }
        if (xid != nullptr) {
            const bool same = *digest == request.digest && (!request.xid || *request.xid == *xid);
            attach_begin(token, request, *xid, same, RejectCode::idempotency_key_reused);
            return true;
        }
    }
    if (!request.xid) {
        return false;
    }
    const Xid& xid = *request.xid;
    const VolatileTransaction* live = find_live(xid);
    const TransactionRecord* record = state_.find(xid);
    if (live != nullptr || record != nullptr) {
        // A tombstone has no digest: whatever was meant by this xid is aborted.
        const Digest& digest = record != nullptr ? record->begin.digest : live->digest;
        const bool tombstone = record != nullptr && digest.empty();
        attach_begin(token, request, xid, tombstone || digest == request.digest,
                     RejectCode::xid_reused);
        return true;
    }
    if (state_.is_closed(xid) || find_known(xid) != nullptr) {
        reject(token, RejectCode::xid_closed, "this xid was used before and is forgotten", xid);
        return true;
    }
    if (parse_server_xid(xid)) {
        reject(token, RejectCode::invalid_request, "xids of this form are made by the server", xid);
        return true;
    }
    return false;
}

void TransactionCoordinator::Impl::attach_begin(RequestToken token, const BeginRequest& request,
                                                const Xid& xid, bool same_request,
                                                RejectCode mismatch) {
    if (!same_request) {
        reject(token, mismatch, "used before with another request body", xid);
        return;
    }
    Waiter waiter;
    waiter.token = token;
    waiter.purpose = Waiter::Purpose::begin;
    waiter.until = request.mode == Mode::interactive ? WaitFor::begun : request.wait_for;
    const TransactionRecord* record = state_.find(xid);
    if (record != nullptr && is_satisfied(waiter, *record)) {
        answer(waiter, *record, false);
        return;
    }
    VolatileTransaction* live = find_live(xid);
    CONCORDAT_ASSERT(live != nullptr);
    if (has_room_for_waiter(token)) {
        add_waiter(*live, waiter, request.wait_limit);
    }
}

std::optional<Rejected>
TransactionCoordinator::Impl::check_begin(const BeginRequest& request) const {
    if (request.xid && !parse_xid(request.xid->value())) {
        return rejected(RejectCode::invalid_request, "xid must match [A-Za-z0-9._-]{1,64}");
    }
    const Duration timeout = request.timeout.value_or(options_.default_timeout);
    if (timeout <= Duration::zero() || timeout > options_.max_timeout) {
        return rejected(RejectCode::invalid_request, "timeout is not in the allowed range");
    }
    if (request.idempotency_key.size() > max_idempotency_key_bytes) {
        return rejected(RejectCode::invalid_request, "idempotency key is too long");
    }
    if (request.metadata.size() > max_metadata_entries) {
        return rejected(RejectCode::invalid_request, "too many metadata entries");
    }
    if (request.mode == Mode::submit && request.branches.empty()) {
        return rejected(RejectCode::invalid_request, "a submitted transaction needs a branch");
    }
    if (request.branches.size() > options_.max_branches) {
        return rejected(RejectCode::too_many_branches,
                        "at most " + std::to_string(options_.max_branches) + " branches");
    }
    std::size_t payload_bytes = 0;
    for (const BranchSpec& branch : request.branches) {
        if (auto refusal = check_branch(branch)) {
            return refusal;
        }
        payload_bytes += branch.payload ? branch.payload->size() : 0;
    }
    if (payload_bytes > options_.max_append_bytes / 2) {
        return rejected(RejectCode::invalid_request, "payloads are too large together");
    }
    if (live_ >= options_.max_in_flight || append_held_until_ ||
        waiting_tokens_.size() + turn_waiters_total_ >= options_.max_waiting_requests) {
        Rejected refusal = rejected(RejectCode::overloaded, "too much is in flight");
        refusal.retry_after = overload_retry_after;
        return refusal;
    }
    return std::nullopt;
}

std::optional<Rejected> TransactionCoordinator::Impl::check_branch(const BranchSpec& branch) const {
    if (branch.call_timeout && *branch.call_timeout <= Duration::zero()) {
        return rejected(RejectCode::invalid_request, "a branch's timeout must be positive");
    }
    if (state_.find_participant(branch.participant) == nullptr ||
        being_removed_.contains(branch.participant)) {
        return rejected(RejectCode::unknown_participant,
                        "participant '" + branch.participant.value() + "' is not registered");
    }
    return std::nullopt;
}

void TransactionCoordinator::Impl::create(RequestToken token, BeginRequest&& request) {
    VolatileTransaction& transaction =
        insert(request.xid ? std::move(*request.xid) : next_server_xid());
    transaction.protocol = request.protocol;
    transaction.mode = request.mode;
    transaction.digest = std::move(request.digest);
    transaction.idempotency_key = std::move(request.idempotency_key);
    transaction.traceparent = std::move(request.traceparent);
    transaction.metadata = std::move(request.metadata);
    transaction.capability = capabilities_.next();
    transaction.created_at = wall_;
    transaction.timeout = request.timeout.value_or(options_.default_timeout);
    transaction.begun_branches = request.branches.size();
    transaction.branches.reserve(request.branches.size());
    for (BranchSpec& branch : request.branches) {
        if (!branch.payload) {
            branch.payload = no_payload();
        }
        add_branch(transaction, std::move(branch));
    }
    if (!transaction.idempotency_key.empty()) {
        keys_in_flight_.emplace(transaction.idempotency_key, &transaction);
    }
    transaction.deadline = now_ + transaction.timeout;
    transaction.deadline_timer =
        timers_.add(transaction.deadline,
                    {TimerEvent::Kind::deadline, BranchNumber{}, &transaction, RequestToken{}});
    note(transaction, EventKind::begun);
    propose_begin(transaction);

    Waiter waiter;
    waiter.token = token;
    waiter.created = true;
    waiter.until = transaction.mode == Mode::interactive ? WaitFor::begun : request.wait_for;
    add_waiter(transaction, waiter, request.wait_limit);

    if (transaction.mode == Mode::interactive) {
        transaction.stage = Stage::open;
    } else if (is_one_phase(transaction.mode, transaction.branches.size())) {
        transaction.stage = Stage::one_phase;
        transaction.branches.front().phase = BranchPhase::preparing;
    } else {
        start_voting(transaction);
    }
}

Xid TransactionCoordinator::Impl::next_server_xid() {
    for (;;) {
        Xid xid = make_server_xid(options_.group, state_.epoch(), ++sequence_);
        // An inquiry about a number not given out yet may have left a tombstone.
        if (state_.find(xid) == nullptr && find_known(xid) == nullptr) {
            return xid;
        }
    }
}

// ---------------------------------------------------------------------------------- interactive

void TransactionCoordinator::Impl::enlist(RequestToken token, EnlistRequest&& request,
                                          bool confirmed) {
    VolatileTransaction* transaction = find_live(request.xid);
    if (transaction == nullptr) {
        if (state_.find(request.xid) != nullptr) {
            reject(token, RejectCode::registration_closed, "the transaction is finished",
                   request.xid);
        } else if (confirmed) {
            reject(token, RejectCode::transaction_not_found, "no such transaction", request.xid);
        } else {
            read_after_barrier(token, std::move(request));
        }
        return;
    }
    if (transaction->stage != Stage::open || transaction->decision_proposed) {
        reject(token, RejectCode::registration_closed, "branches can no longer be enlisted",
               request.xid);
        return;
    }
    if (transaction->branches.size() >= options_.max_branches) {
        reject(token, RejectCode::too_many_branches,
               "at most " + std::to_string(options_.max_branches) + " branches", request.xid);
        return;
    }
    if (auto refusal = check_branch(request.branch)) {
        refusal->xid = request.xid;
        reply(token, std::move(*refusal));
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    if (!request.branch.payload) {
        request.branch.payload = no_payload();
    }
    add_branch(*transaction, std::move(request.branch));
    const VolatileBranch& added = transaction->branches.back();
    note(*transaction, EventKind::enlisted, &added);
    propose_enlist(*transaction, added.branch);
    wait_for_turn(token, TurnWaiter::Kind::transaction, transaction->xid);
}

void TransactionCoordinator::Impl::decide(RequestToken token, DecideRequest&& request,
                                          bool confirmed) {
    if (VolatileTransaction* transaction = find_live(request.xid)) {
        decide_live(token, std::move(request), *transaction);
        return;
    }
    const TransactionRecord* record = state_.find(request.xid);
    if (record != nullptr) {
        if (record->decision->outcome == request.wanted) {
            reply_transaction(token, *record, false, false, false);
        } else {
            reject(token, RejectCode::already_decided,
                   request.wanted == Outcome::aborted ? "already committed" : "already aborted",
                   request.xid);
        }
    } else if (confirmed) {
        reject(token, RejectCode::transaction_not_found, "no such transaction", request.xid);
    } else {
        read_after_barrier(token, std::move(request));
    }
}

void TransactionCoordinator::Impl::decide_live(RequestToken token, DecideRequest&& request,
                                               VolatileTransaction& transaction) {
    const bool decided = transaction.stage == Stage::delivering;
    if (decided && transaction.proposed_outcome != request.wanted) {
        reject(token, RejectCode::already_decided,
               request.wanted == Outcome::aborted ? "already committed" : "already aborted",
               request.xid);
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    Waiter waiter;
    waiter.token = token;
    waiter.purpose =
        request.wanted == Outcome::committed ? Waiter::Purpose::commit : Waiter::Purpose::abort;
    waiter.until = request.wait_for == WaitFor::begun ? WaitFor::begun : request.wait_for;
    if (!decided && request.wanted == Outcome::aborted) {
        abort_on_request(transaction, request);
    } else if (!decided && transaction.stage == Stage::open && !transaction.decision_proposed) {
        note(transaction, EventKind::commit_requested);
        if (transaction.branches.empty()) {
            propose_decision(transaction, Outcome::committed, DecisionReason::all_voted_yes, {});
        } else {
            start_voting(transaction);
        }
    }
    const TransactionRecord* record = state_.find(transaction.xid);
    if (transaction.begun && is_satisfied(waiter, *record)) {
        answer(waiter, *record, !is_decided(record->state));
        return;
    }
    add_waiter(transaction, waiter, request.wait_limit);
}

void TransactionCoordinator::Impl::abort_on_request(VolatileTransaction& transaction,
                                                    const DecideRequest& request) {
    if (request.by_operator) {
        // Recorded even when it comes too late to have an effect.
        propose_audit(request.who, "abort", transaction.xid.value(), request.why);
    }
    if (may_abort(transaction)) {
        propose_decision(transaction, Outcome::aborted,
                         request.by_operator ? DecisionReason::operator_aborted
                                             : DecisionReason::client_aborted,
                         request.why);
    }
}

// ------------------------------------------------------------------------------------- operator

void TransactionCoordinator::Impl::retry(RequestToken token, RetryRequest&& request,
                                         bool confirmed) {
    VolatileTransaction* transaction = find_live(request.xid);
    if (transaction == nullptr) {
        if (const TransactionRecord* record = state_.find(request.xid)) {
            reply_transaction(token, *record, false, false, false);
        } else if (confirmed) {
            reject(token, RejectCode::transaction_not_found, "no such transaction", request.xid);
        } else {
            read_after_barrier(token, std::move(request));
        }
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    note(*transaction, EventKind::retry_requested, nullptr, request.who);
    for (VolatileBranch& branch : transaction->branches) {
        if (branch.retry != 0) {
            timers_.cancel(branch.retry);
            enqueue(branch);
        }
    }
    propose_audit(std::move(request.who), "retry", transaction->xid.value(),
                  std::move(request.why));
    wait_for_turn(token, TurnWaiter::Kind::transaction, transaction->xid);
}

void TransactionCoordinator::Impl::put_participant(RequestToken token,
                                                   PutParticipantRequest&& request) {
    const ParticipantDefinition& definition = request.definition;
    const bool has_scheme =
        definition.base_url.starts_with("http://") || definition.base_url.starts_with("https://");
    if (!parse_participant_name(request.name.value()) || !has_scheme ||
        definition.call_timeout <= Duration::zero() || definition.max_concurrent_calls == 0) {
        reject(token, RejectCode::invalid_request,
               "a participant needs a name [a-z0-9-]{1,63}, an http(s) URL, a positive timeout and "
               "at least one concurrent call");
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    propose_audit(std::move(request.who), "put-participant", request.name.value(), {});
    propose_rare(PutParticipant{std::move(request.name), std::move(request.definition)});
    wait_for_turn(token, TurnWaiter::Kind::acknowledge, Xid{});
}

void TransactionCoordinator::Impl::remove_participant(RequestToken token,
                                                      RemoveParticipantRequest&& request) {
    if (state_.find_participant(request.name) == nullptr) {
        reject(token, RejectCode::participant_not_found, "no such participant");
        return;
    }
    if (is_in_use(request.name)) {
        reject(token, RejectCode::participant_in_use, "an unfinished transaction names it");
        return;
    }
    if (!has_room_for_waiter(token)) {
        return;
    }
    being_removed_.insert(request.name);
    propose_audit(std::move(request.who), "remove-participant", request.name.value(),
                  std::move(request.why));
    propose_rare(RemoveParticipant{std::move(request.name)});
    wait_for_turn(token, TurnWaiter::Kind::acknowledge, Xid{});
}

bool TransactionCoordinator::Impl::is_in_use(const ParticipantName& name) const {
    for (const VolatileTransaction* each = oldest_; each != nullptr; each = each->younger) {
        for (const VolatileBranch& branch : each->branches) {
            if (branch.spec.participant == name) {
                return true;
            }
        }
    }
    return false;
}

} // namespace concordat::core
