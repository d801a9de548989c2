#include "participant-sdk/src/participant/delivery.hpp"

#include "participant-sdk/src/failpoint/operation_kinds.hpp"
#include "participant-sdk/src/participant/acceptor.hpp"

#include <fmt/format.h>

#include <utility>

namespace concordat::participant {

namespace {

PrepareOrder order_of(wire::BranchRequest&& request, const BranchKey& key) {
    PrepareOrder order{
        .key = key, .epoch = request.epoch, .payload = std::move(request.payload), .context = {}};
    BranchContext& context = order.context;
    context.participant = std::move(request.participant);
    context.protocol = request.three_phase ? Protocol::three_phase : Protocol::two_phase;
    for (wire::Peer& peer : request.participants) {
        context.peers.push_back(
            {peer.branch, std::move(peer.participant), std::move(peer.base_url)});
    }
    context.quorum = request.quorum;
    context.coordinator_is_acceptor = request.coordinator_is_acceptor;
    context.capability = std::move(request.capability);
    context.coordinators = std::move(request.coordinators);
    return order;
}

wire::BranchAnswer refusal(std::string reason) {
    wire::BranchAnswer answer;
    answer.status = 409;
    answer.reason = std::move(reason);
    return answer;
}

std::string name_of_branch(const BranchKey& key) {
    return fmt::format("{}/{}", key.xid.value(), key.branch);
}

} // namespace

bool equal_secrets(std::string_view left, std::string_view right) noexcept {
    unsigned difference = left.size() == right.size() ? 0U : 1U;
    for (std::size_t i = 0; i < left.size() && i < right.size(); ++i) {
        difference |= static_cast<unsigned char>(left[i]) ^
                      static_cast<unsigned>(static_cast<unsigned char>(right[i]));
    }
    return difference == 0;
}

Delivery::Delivery(Resource& resource, Counters& counters, AlarmSink alarm)
    : resource_(resource), counters_(counters), alarm_(std::move(alarm)) {}

void Delivery::alarm(Alarm::Kind kind, std::string detail) {
    alarm_({.kind = kind, .detail = std::move(detail)});
}

wire::BranchAnswer Delivery::answer_of(const NotDone& failure) {
    wire::BranchAnswer answer;
    answer.reason = failure.reason;
    if (failure.outcome) {
        answer.outcome = static_cast<wire::Outcome>(*failure.outcome);
    }
    switch (failure.kind) {
    case NotDone::Kind::refused:
        ++counters_.refused;
        answer.status = 409;
        break;
    case NotDone::Kind::later:
        ++counters_.later;
        answer.status = 503;
        answer.retry_after = failure.retry_after;
        break;
    case NotDone::Kind::unknown:
        ++counters_.unknown;
        answer.status = 500;
        break;
    }
    return answer;
}

wire::BranchAnswer Delivery::run(wire::BranchRequest&& request) {
    CONCORDAT_FAILPOINT("participant.*.received", failpoint::kind_of(request.operation));
    const auto xid = Xid::parse(request.xid);
    if (!xid) {
        wire::BranchAnswer answer;
        answer.status = 400;
        answer.reason = "not a transaction id";
        return answer;
    }
    const BranchKey key{*xid, request.branch};
    switch (request.operation) {
    case wire::Operation::prepare:
        return prepare(order_of(std::move(request), key));
    case wire::Operation::commit_one_phase:
        return commit_one_phase(order_of(std::move(request), key));
    case wire::Operation::pre_commit:
        return pre_commit(key);
    case wire::Operation::learn:
        return learn(key);
    case wire::Operation::commit:
    case wire::Operation::abort: {
        const Outcome outcome =
            request.operation == wire::Operation::commit ? Outcome::committed : Outcome::aborted;
        const auto done = finish(key, outcome);
        if (!done) {
            return answer_of(done.error());
        }
        wire::BranchAnswer answer;
        answer.outcome = static_cast<wire::Outcome>(outcome);
        return answer;
    }
    }
    return refusal("unknown operation");
}

wire::BranchAnswer Delivery::prepare(const PrepareOrder& order) {
    const auto cast = resource_.prepare(order);
    if (!cast) {
        return answer_of(cast.error());
    }
    wire::BranchAnswer answer;
    answer.vote = static_cast<wire::Vote>(cast->vote);
    answer.reason = cast->reason;
    switch (cast->vote) {
    case Vote::yes:
        ++counters_.votes_yes;
        break;
    case Vote::no:
        ++counters_.votes_no;
        break;
    case Vote::read_only:
        ++counters_.votes_read_only;
        break;
    }
    return answer;
}

wire::BranchAnswer Delivery::commit_one_phase(const PrepareOrder& order) {
    const auto done = resource_.commit_one_phase(order);
    if (!done) {
        return answer_of(done.error());
    }
    ++(done->outcome == Outcome::committed ? counters_.committed : counters_.aborted);
    wire::BranchAnswer answer;
    answer.outcome = static_cast<wire::Outcome>(done->outcome);
    answer.reason = done->reason;
    return answer;
}

std::expected<void, NotDone> Delivery::finish(const BranchKey& key, Outcome outcome) {
    const bool commit = outcome == Outcome::committed;
    auto done = commit ? resource_.commit(key) : resource_.abort(key);
    if (done) {
        ++(commit ? counters_.committed : counters_.aborted);
        return done;
    }
    if (done.error().kind == NotDone::Kind::refused) {
        alarm(done.error().outcome ? Alarm::Kind::heuristic_outcome
                                   : Alarm::Kind::prepared_branch_lost,
              fmt::format("{}: {} was decided, but {}", name_of_branch(key),
                          commit ? "commit" : "abort", done.error().reason));
    }
    return done;
}

wire::BranchAnswer Delivery::pre_commit(const BranchKey& key) {
    wire::BranchAnswer answer;
    const auto stored = resource_.change_acceptor(key, [&answer](const AcceptorState& state) {
        PreCommitStep step = participant::pre_commit(state);
        answer = std::move(step.answer);
        return step.state;
    });
    return stored ? answer : answer_of(stored.error());
}

wire::BranchAnswer Delivery::learn(const BranchKey& key) {
    const auto state = resource_.change_acceptor(key, settled);
    if (!state) {
        return answer_of(state.error());
    }
    wire::BranchAnswer answer;
    if (const auto outcome = outcome_of(*state)) {
        answer.outcome = static_cast<wire::Outcome>(*outcome);
    }
    return answer;
}

wire::BallotAnswer Delivery::run(const wire::BallotRequest& request) {
    CONCORDAT_FAILPOINT("participant.*.received", request.value ? "accept" : "promise");
    wire::BallotAnswer answer;
    const auto xid = Xid::parse(request.xid);
    if (!xid || request.capability.empty()) {
        answer.status = 403;
        answer.reason = "the capability is missing";
        return answer;
    }
    const Ballot ballot{request.ballot.round, request.ballot.proposer};
    bool forbidden = false;
    const auto stored =
        resource_.change_acceptor({*xid, request.branch}, [&](const AcceptorState& state) {
            // Without a PREPARE there is no capability to compare, and nothing to lose but the
            // right to vote yes.
            forbidden =
                !state.capability.empty() && !equal_secrets(state.capability, request.capability);
            if (forbidden) {
                return state;
            }
            AcceptorStep step =
                request.value
                    ? participant::accept(state, ballot, static_cast<Outcome>(*request.value))
                    : participant::promise(state, ballot);
            answer = std::move(step.answer);
            return step.state;
        });
    if (!stored) {
        const wire::BranchAnswer failure = answer_of(stored.error());
        answer = {};
        answer.status = failure.status;
        answer.reason = failure.reason;
    } else if (forbidden) {
        answer.status = 403;
        answer.reason = "the capability is wrong";
    }
    return answer;
}

std::expected<wire::BranchStatus, wire::BranchAnswer>
Delivery::status(const BranchKey& key, std::string_view capability) {
    const auto state = resource_.change_acceptor(key, settled);
    if (!state) {
        return std::unexpected(answer_of(state.error()));
    }
    if (!state->capability.empty() && !equal_secrets(state->capability, capability)) {
        wire::BranchAnswer answer;
        answer.status = 403;
        answer.reason = "the capability is wrong";
        return std::unexpected(answer);
    }
    return wire::BranchStatus{static_cast<wire::BranchState>(state->state)};
}

} // namespace concordat::participant
