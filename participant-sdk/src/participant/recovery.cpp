#include "participant-sdk/src/participant/recovery.hpp"

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

} // namespace

Recovery::Recovery(Resource& resource, Delivery& delivery, Outbound& outbound, Counters& counters,
                   RecoveryOptions options, Delivery::AlarmSink alarm)
    : resource_(resource),
      delivery_(delivery),
      outbound_(outbound),
      counters_(counters),
      options_(std::move(options)),
      alarm_(std::move(alarm)) {}

std::size_t Recovery::look() {
    auto listed = resource_.in_doubt(options_.grace, options_.batch);
    if (!listed) {
        if (std::exchange(store_was_reachable_, false)) {
            alarm_({.kind = Alarm::Kind::store_problem, .detail = listed.error().reason});
        }
        return 0;
    }
    store_was_reachable_ = true;
    std::vector<Case> cases;
    std::chrono::milliseconds oldest{0};
    for (InDoubtBranch& branch : *listed) {
        Case one{.branch = std::move(branch), .coordinators = options_.coordinators};
        oldest = std::max(oldest, one.branch.age);
        if (one.branch.context && !one.branch.context->coordinators.empty()) {
            one.coordinators = one.branch.context->coordinators;
        }
        cases.push_back(std::move(one));
    }
    counters_.in_doubt = cases.size();
    counters_.oldest_in_doubt_ms = oldest.count();
    inquire(cases);
    std::size_t ended = 0;
    for (Case& one : cases) {
        if (!one.ended && !one.answered && one.branch.context) {
            if (one.branch.context->protocol == Protocol::three_phase) {
                run_ballot(one);
            } else {
                ask_peers(one);
            }
        }
        if (one.ended) {
            ++ended;
        } else if (one.branch.age >= options_.alarm_age) {
            alarm_({.kind = Alarm::Kind::in_doubt_too_long,
                    .detail = fmt::format("{}/{} is in doubt for {} ms", one.branch.key.xid.value(),
                                          one.branch.key.branch, one.branch.age.count())});
        }
    }
    counters_.in_doubt -= ended;
    return ended;
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
                              .headers = {},
                              .body = {}};
            if (!options_.bearer_token.empty()) {
                call.headers.emplace_back("Authorization", "Bearer " + options_.bearer_token);
            }
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
    if (const auto done = delivery_.finish(one.branch.key, outcome); !done) {
        return false;
    }
    ++counter;
    one.ended = true;
    return true;
}

std::vector<Peer> Recovery::others(const Case& one) const {
    std::vector<Peer> peers = one.branch.context->peers;
    std::erase_if(peers, [&one](const Peer& peer) { return peer.branch == one.branch.key.branch; });
    return peers;
}

// Two-phase: a peer that committed, aborted or refused knows the outcome; if all are uncertain
// there is nothing to do but wait.
void Recovery::ask_peers(Case& one) {
    std::vector<OutboundCall> calls;
    for (const Peer& peer : others(one)) {
        calls.push_back(
            {.base_url = peer.base_url,
             .method = "GET",
             .target = branch_target(key_at(one.branch.key, peer)),
             .headers = {{std::string(wire::capability_header), one.branch.context->capability}},
             .body = {}});
    }
    for (const auto& reply : outbound_.exchange(calls, options_.call_timeout)) {
        if (!reply || reply->status != 200) {
            continue;
        }
        const auto status = wire::decode_status(reply->body);
        if (!status) {
            continue;
        }
        if (status->state == wire::BranchState::committed) {
            finish(one, Outcome::committed, counters_.recovered_by_peers);
            return;
        }
        if (status->state == wire::BranchState::aborted) {
            finish(one, Outcome::aborted, counters_.recovered_by_peers);
            return;
        }
    }
}

void Recovery::run_ballot(Case& one) {
    const BranchKey& key = one.branch.key;
    const BranchContext& context = *one.branch.context;
    if (context.quorum == 0) {
        return; // the PREPARE named no quorum rule: only the coordinator may decide
    }
    ++counters_.ballots_started;
    // The own acceptor promises first, in the store. It does so once per ballot, so two replicas of
    // this participant can never propose under the same number.
    std::optional<Terminator> attempt;
    wire::BallotAnswer own;
    const auto promised = resource_.change_acceptor(key, [&](const AcceptorState& state) {
        attempt.emplace(key.branch, context.quorum, state.promised);
        AcceptorStep step = promise(state, attempt->ballot());
        own = std::move(step.answer);
        return step.state;
    });
    if (!promised) {
        return;
    }
    attempt->on_promise(key.branch, own);

    const std::vector<Peer> peers = others(one);
    wire::BallotRequest request{.xid = key.xid.value(),
                                .branch = 0,
                                .ballot = {attempt->ballot().round, attempt->ballot().proposer},
                                .value = {},
                                .capability = context.capability};
    const auto ask = [&](std::string_view step, auto&& receive) {
        std::vector<OutboundCall> calls;
        for (const Peer& peer : peers) {
            calls.push_back(
                {.base_url = peer.base_url,
                 .method = "POST",
                 .target = fmt::format("{}/ballots/{}", branch_target(key_at(key, peer)), step),
                 .headers = {},
                 .body = wire::encode(request)});
        }
        const auto replies = outbound_.exchange(calls, options_.call_timeout);
        for (std::size_t index = 0; index < replies.size(); ++index) {
            if (!replies[index] || replies[index]->status != 200) {
                continue;
            }
            if (const auto answer = wire::decode_ballot_answer(replies[index]->body)) {
                receive(peers[index].branch, *answer);
            }
        }
    };
    ask("promise", [&](std::uint16_t branch, const wire::BallotAnswer& answer) {
        attempt->on_promise(branch, answer);
    });
    if (attempt->phase() == Terminator::Phase::accepting) {
        const Outcome value = attempt->value();
        request.value = static_cast<wire::Outcome>(value);
        const auto accepted = resource_.change_acceptor(key, [&](const AcceptorState& state) {
            AcceptorStep step = accept(state, attempt->ballot(), value);
            own = std::move(step.answer);
            return step.state;
        });
        if (!accepted) {
            return;
        }
        attempt->on_accept(key.branch, own);
        ask("accept", [&](std::uint16_t branch, const wire::BallotAnswer& answer) {
            attempt->on_accept(branch, answer);
        });
    }
    if (attempt->phase() == Terminator::Phase::decided &&
        finish(one, attempt->value(), counters_.recovered_by_ballot)) {
        tell_peers(one, attempt->value());
    }
}

// Saves the peers a ballot of their own; one that does not hear it runs its own and finds the same.
void Recovery::tell_peers(const Case& one, Outcome outcome) {
    wire::BranchRequest request;
    request.xid = one.branch.key.xid.value();
    request.operation =
        outcome == Outcome::committed ? wire::Operation::commit : wire::Operation::abort;
    request.three_phase = true;
    request.capability = one.branch.context->capability;
    std::vector<OutboundCall> calls;
    for (const Peer& peer : others(one)) {
        request.branch = peer.branch;
        calls.push_back({.base_url = peer.base_url,
                         .method = "POST",
                         .target = wire::target_of(request),
                         .headers = {},
                         .body = wire::encode(request)});
    }
    (void)outbound_.exchange(calls, options_.call_timeout);
}

} // namespace concordat::participant
