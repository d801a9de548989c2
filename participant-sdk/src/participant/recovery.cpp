#include "participant-sdk/src/participant/recovery.hpp"

#include "participant-sdk/src/failpoint/failpoint.hpp"
#include "participant-sdk/src/participant/acceptor.hpp"
#include "participant-sdk/src/participant/terminator.hpp"
#include "participant-sdk/src/wire/json_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace concordat::participant {

namespace {

std::string branch_target(const BranchKey& key) {
    return fmt::format("/v1/branches/{}/{}", key.xid.value(), key.branch);
}

BranchKey key_at(const BranchKey& own, const Peer& peer) {
    return {own.xid, peer.branch};
}

std::string ballot_body(const Terminator& terminator, const std::string& capability) {
    wire::BallotRequest request;
    request.ballot = {terminator.ballot().round, terminator.ballot().proposer};
    request.capability = capability;
    if (terminator.phase() == Terminator::Phase::accepting) {
        request.value = static_cast<wire::Outcome>(terminator.value());
    }
    return wire::encode(request);
}

std::string_view ballot_step(Terminator::Phase phase) {
    return phase == Terminator::Phase::promising ? "/ballots/promise" : "/ballots/accept";
}

} // namespace

Recovery::Recovery(Resource& resource, Delivery& delivery, Outbound& outbound, Counters& counters,
                   RecoveryOptions options, Delivery::AlarmSink alarm)
    : resource_(resource),
      delivery_(delivery),
      outbound_(outbound),
      counters_(counters),
      options_(std::move(options)),
      alarm_(std::move(alarm)) {
    if (!options_.bearer_token.empty()) {
        authorization_.emplace_back("Authorization", "Bearer " + options_.bearer_token);
    }
}

std::size_t Recovery::look() {
    const std::size_t limit = skip_ + options_.batch;
    auto listed = resource_.in_doubt(options_.grace, limit);
    if (!listed) {
        skip_ = 0;
        has_more_ = false;
        if (std::exchange(store_was_reachable_, false)) {
            alarm_({.kind = Alarm::Kind::store_problem, .detail = listed.error().reason});
        }
        return 0;
    }
    store_was_reachable_ = true;
    has_more_ = listed->size() >= limit;
    counters_.in_doubt = listed->size();
    counters_.oldest_in_doubt_ms = listed->empty() ? 0 : listed->front().age.count();
    std::vector<Case> cases = cases_of(std::move(*listed));
    inquire(cases);
    ask_peers(cases);
    run_ballots(cases);
    std::size_t ended = 0;
    for (const Case& one : cases) {
        if (one.ended) {
            ++ended;
        } else if (one.branch.age >= options_.alarm_age) {
            alarm_({.kind = Alarm::Kind::in_doubt_too_long,
                    .detail = fmt::format("{}/{} is in doubt for {} ms", one.branch.key.xid.value(),
                                          one.branch.key.branch, one.branch.age.count())});
        }
    }
    counters_.in_doubt -= ended;
    skip_ = has_more_ ? skip_ + cases.size() - ended : 0;
    return ended;
}

std::vector<Recovery::Case> Recovery::cases_of(std::vector<InDoubtBranch>&& listed) const {
    std::vector<Case> cases;
    for (std::size_t index = std::min(skip_, listed.size()); index < listed.size(); ++index) {
        Case one{.branch = std::move(listed[index]),
                 .coordinators = options_.coordinators,
                 .reached = {}};
        if (one.branch.context && !one.branch.context->coordinators.empty()) {
            one.coordinators = one.branch.context->coordinators;
        }
        cases.push_back(std::move(one));
    }
    return cases;
}

// One coordinator after the other, all branches at once: a coordinator that does not answer costs
// one time-out per look and not one per branch.
void Recovery::inquire(std::vector<Case>& cases) {
    std::set<std::string> tried;
    for (;;) {
        std::vector<OutboundCall> calls;
        std::vector<Case*> asked;
        std::string url;
        for (Case& one : cases) {
            if (one.answered || one.ended) {
                continue;
            }
            if (url.empty()) {
                const auto usable = [&tried](const std::string& candidate) {
                    return !tried.contains(candidate);
                };
                const auto& known = one.coordinators;
                const bool prefer =
                    usable(preferred_coordinator_) &&
                    std::find(known.begin(), known.end(), preferred_coordinator_) != known.end();
                const auto next = std::find_if(known.begin(), known.end(), usable);
                url = prefer ? preferred_coordinator_ : next != known.end() ? *next : std::string{};
            }
            if (url.empty() || std::find(one.coordinators.begin(), one.coordinators.end(), url) ==
                                   one.coordinators.end()) {
                continue;
            }
            OutboundCall call{.base_url = url,
                              .method = "GET",
                              .target = "/v1/inquiry/" + one.branch.key.xid.value(),
                              .headers = authorization_,
                              .body = {}};
            calls.push_back(std::move(call));
            asked.push_back(&one);
        }
        if (calls.empty()) {
            return;
        }
        tried.insert(url);
        counters_.inquiries += calls.size();
        const auto replies = outbound_.exchange(calls, options_.call_timeout);
        for (std::size_t index = 0; index < replies.size(); ++index) {
            if (replies[index]) {
                asked[index]->reached.push_back(url);
                read_inquiry(*asked[index], *replies[index]);
            }
            if (asked[index]->answered) {
                preferred_coordinator_ = url;
            }
        }
    }
}

void Recovery::read_inquiry(Case& one, const OutboundReply& reply) {
    if (reply.status != 200 && reply.status != 202) {
        return; // without a leader, or overloaded: no answer
    }
    wire::JsonReader reader(reply.body);
    std::string name;
    std::string outcome;
    reader.begin_object();
    while (reader.next_member(name)) {
        if (name == "outcome") {
            outcome = reader.read_string(32);
        } else {
            (void)reader.read_raw();
        }
    }
    if (!reader.finish()) {
        return;
    }
    if (outcome == "committed") {
        one.answered = finish(one, Outcome::committed, counters_.recovered_by_coordinator);
    } else if (outcome == "aborted") {
        one.answered = finish(one, Outcome::aborted, counters_.recovered_by_coordinator);
    }
    one.answered = one.answered || !outcome.empty();
}

bool Recovery::finish(Case& one, Outcome outcome, std::atomic<std::uint64_t>& counter) {
    CONCORDAT_FAILPOINT("recovery.finish.before");
    if (const auto done = delivery_.finish(one.branch.key, outcome); !done) {
        return false;
    }
    CONCORDAT_FAILPOINT("recovery.finish.after");
    ++counter;
    one.ended = true;
    return true;
}

std::vector<Peer> Recovery::others(const Case& one) {
    std::vector<Peer> peers = one.branch.context->peers;
    std::erase_if(peers, [&one](const Peer& peer) { return peer.branch == one.branch.key.branch; });
    return peers;
}

// Left alone by the coordinators, and with the knowledge to go on without them.
bool Recovery::is_orphan(const Case& one, Protocol protocol) {
    return !one.ended && !one.answered && one.branch.context &&
           one.branch.context->protocol == protocol;
}

// Two-phase: a peer that committed, aborted or refused knows the outcome; if all are uncertain
// there is nothing to do but wait.
void Recovery::ask_peers(std::vector<Case>& cases) {
    std::vector<OutboundCall> calls;
    std::vector<Case*> asking;
    for (Case& one : cases) {
        if (!is_orphan(one, Protocol::two_phase)) {
            continue;
        }
        for (const Peer& peer : others(one)) {
            calls.push_back({.base_url = peer.base_url,
                             .method = "GET",
                             .target = branch_target(key_at(one.branch.key, peer)),
                             .headers = {{std::string(wire::capability_header),
                                          one.branch.context->capability}},
                             .body = {}});
            asking.push_back(&one);
        }
    }
    const auto replies = outbound_.exchange(calls, options_.call_timeout);
    for (std::size_t index = 0; index < replies.size(); ++index) {
        Case& one = *asking[index];
        if (one.ended || !replies[index] || replies[index]->status != 200) {
            continue;
        }
        const auto status = wire::decode_status(replies[index]->body);
        if (status && status->state == wire::BranchState::committed) {
            finish(one, Outcome::committed, counters_.recovered_by_peers);
        } else if (status && status->state == wire::BranchState::aborted) {
            finish(one, Outcome::aborted, counters_.recovered_by_peers);
        }
    }
}

// The ballots of all orphans go through their phases side by side: a peer that does not answer
// costs one time-out per phase and not one per branch.
void Recovery::run_ballots(std::vector<Case>& cases) {
    std::vector<Attempt> attempts;
    for (Case& one : cases) {
        // Without a quorum rule in the PREPARE only the coordinator may decide.
        if (is_orphan(one, Protocol::three_phase) && one.branch.context->quorum > 0 &&
            one.branch.key.branch < Terminator::coordinator_group && is_its_turn(one)) {
            if (auto terminator = promise_to_itself(one)) {
                attempts.push_back({&one, std::move(*terminator)});
            }
        }
    }
    ask_acceptors(attempts, Terminator::Phase::promising);
    for (Attempt& attempt : attempts) {
        attempt.terminator.end_promises();
        accept_itself(attempt);
    }
    ask_acceptors(attempts, Terminator::Phase::accepting);
    std::vector<OutboundCall> news;
    for (Attempt& attempt : attempts) {
        const Terminator& terminator = attempt.terminator;
        if (terminator.phase() == Terminator::Phase::decided &&
            finish(*attempt.one, terminator.value(), counters_.recovered_by_ballot)) {
            tell_peers(*attempt.one, terminator.value(), news);
            CONCORDAT_FAILPOINT("proposer.tell.before");
        }
    }
    (void)outbound_.exchange(news, options_.call_timeout);
    CONCORDAT_FAILPOINT("proposer.*.after", failpoint::Kinds(news.empty() ? 0 : 1, "tell"));
}

// Participants that lost their coordinators together would outbid each other's ballots. So one of
// them, another one for every transaction, begins; the others follow an interval apart, in case it
// is dead. Only a matter of speed: nothing depends on who proposes.
bool Recovery::is_its_turn(const Case& one) const {
    static constexpr std::size_t most_steps = 3;
    std::uint32_t hash = 2'166'136'261U; // FNV-1a: the same wherever it is computed
    for (const char byte : one.branch.key.xid.value()) {
        hash = (hash ^ static_cast<unsigned char>(byte)) * 16'777'619U;
    }
    const std::vector<Peer>& peers = one.branch.context->peers;
    const auto own = static_cast<std::size_t>(
        std::count_if(peers.begin(), peers.end(),
                      [&one](const Peer& peer) { return peer.branch < one.branch.key.branch; }));
    const std::size_t count = std::max<std::size_t>(1, peers.size());
    const std::size_t place = (own + count - hash % count) % count;
    return one.branch.age >=
           options_.grace + options_.interval * static_cast<int>(std::min(place, most_steps));
}

// The own acceptor promises first, in the store. It does so once per ballot, so two replicas of
// this participant can never propose under the same number.
std::optional<Terminator> Recovery::promise_to_itself(const Case& one) {
    ++counters_.ballots_started;
    const BranchKey& key = one.branch.key;
    std::optional<Terminator> terminator;
    wire::BallotAnswer own;
    CONCORDAT_FAILPOINT("proposer.own_promise.before");
    const auto promised = resource_.change_acceptor(key, [&](const AcceptorState& state) {
        if (state.promised.round == Terminator::last_round) {
            return state; // nothing is above it: a peer that misbehaves has used all rounds up
        }
        terminator.emplace(key.branch, one.branch.context->quorum, state.promised);
        AcceptorStep step = promise(state, terminator->ballot());
        own = std::move(step.answer);
        return step.state;
    });
    if (!promised || !terminator) {
        return std::nullopt;
    }
    CONCORDAT_FAILPOINT("proposer.own_promise.after");
    terminator->on_promise(key.branch, own);
    return terminator;
}

void Recovery::accept_itself(Attempt& attempt) {
    Terminator& terminator = attempt.terminator;
    if (terminator.phase() != Terminator::Phase::accepting) {
        return;
    }
    const BranchKey& key = attempt.one->branch.key;
    wire::BallotAnswer own;
    CONCORDAT_FAILPOINT("proposer.own_accept.before");
    const auto accepted = resource_.change_acceptor(key, [&](const AcceptorState& state) {
        AcceptorStep step = accept(state, terminator.ballot(), terminator.value());
        own = std::move(step.answer);
        return step.state;
    });
    CONCORDAT_FAILPOINT("proposer.own_accept.after");
    if (accepted) {
        terminator.on_accept(key.branch, own);
    }
}

// All acceptors of all attempts at once. The group is one acceptor behind several doors: the first
// node is asked along with the peers, the next one only when that one had no answer for the group.
void Recovery::ask_acceptors(std::vector<Attempt>& attempts, Terminator::Phase phase) {
    Questions questions{.phase = phase, .calls = {}, .asked = {}};
    for (Attempt& attempt : attempts) {
        attempt.group_answered = false;
        ask_peers_of(attempt, questions);
    }
    std::size_t node = 0;
    do {
        for (Attempt& attempt : attempts) {
            ask_group_of(attempt, node, questions);
        }
        hear_acceptors(questions);
        questions = {.phase = phase, .calls = {}, .asked = {}};
        ++node;
    } while (std::any_of(attempts.begin(), attempts.end(), [node](const Attempt& attempt) {
        return !attempt.group_answered && node < attempt.one->reached.size();
    }));
}

void Recovery::ask_peers_of(Attempt& attempt, Questions& questions) const {
    if (attempt.terminator.phase() != questions.phase) {
        return;
    }
    const InDoubtBranch& branch = attempt.one->branch;
    for (const Peer& peer : others(*attempt.one)) {
        questions.calls.push_back(
            {.base_url = peer.base_url,
             .method = "POST",
             .target = branch_target(key_at(branch.key, peer)).append(ballot_step(questions.phase)),
             .headers = {},
             .body = ballot_body(attempt.terminator, branch.context->capability)});
        questions.asked.emplace_back(&attempt, peer.branch);
    }
}

void Recovery::ask_group_of(Attempt& attempt, std::size_t node, Questions& questions) const {
    const InDoubtBranch& branch = attempt.one->branch;
    if (attempt.terminator.phase() != questions.phase || attempt.group_answered ||
        !branch.context->coordinator_is_acceptor || node >= attempt.one->reached.size()) {
        return;
    }
    OutboundCall call{.base_url = attempt.one->reached[node],
                      .method = "POST",
                      .target = fmt::format("/v1/transactions/{}{}", branch.key.xid.value(),
                                            ballot_step(questions.phase)),
                      .headers = authorization_,
                      .body = ballot_body(attempt.terminator, branch.context->capability)};
    questions.calls.push_back(std::move(call));
    questions.asked.emplace_back(&attempt, Terminator::coordinator_group);
}

void Recovery::hear_acceptors(const Questions& questions) {
    if (questions.calls.empty()) {
        return;
    }
    const auto replies = outbound_.exchange(questions.calls, options_.call_timeout);
    for (std::size_t index = 0; index < replies.size(); ++index) {
        if (!replies[index] || replies[index]->status != 200) {
            continue;
        }
        const auto answer = wire::decode_ballot_answer(replies[index]->body);
        if (!answer) {
            continue;
        }
        const auto [attempt, acceptor] = questions.asked[index];
        if (acceptor == Terminator::coordinator_group) {
            attempt->group_answered = true;
        }
        questions.phase == Terminator::Phase::promising
            ? attempt->terminator.on_promise(acceptor, *answer)
            : attempt->terminator.on_accept(acceptor, *answer);
        CONCORDAT_FAILPOINT("proposer.*.heard", ballot_step(questions.phase).substr(9));
    }
}

// Saves the peers a ballot of their own; one that does not hear it runs its own and finds the same.
void Recovery::tell_peers(const Case& one, Outcome outcome, std::vector<OutboundCall>& calls) {
    wire::BranchRequest request;
    request.xid = one.branch.key.xid.value();
    request.operation =
        outcome == Outcome::committed ? wire::Operation::commit : wire::Operation::abort;
    request.three_phase = true;
    request.capability = one.branch.context->capability;
    for (const Peer& peer : others(one)) {
        request.branch = peer.branch;
        calls.push_back({.base_url = peer.base_url,
                         .method = "POST",
                         .target = wire::target_of(request),
                         .headers = {},
                         .body = wire::encode(request)});
    }
}

} // namespace concordat::participant
