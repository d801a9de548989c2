#include "tests/golden/scene.hpp"

#include <charconv>
#include <sstream>
#include <stdexcept>

namespace concordat::golden {

using namespace core;

namespace {

const char* name_of(Operation operation) {
    static constexpr const char* names[] = {"prepare", "pre_commit", "commit",
                                            "abort",   "one_phase",  "learn"};
    return names[static_cast<std::size_t>(operation)];
}

const char* name_of(Outcome outcome) {
    return outcome == Outcome::committed ? "committed" : "aborted";
}

const char* name_of(DecisionReason reason) {
    static constexpr const char* names[] = {
        "all_voted_yes",    "participant_refused",     "deadline_passed",        "client_aborted",
        "operator_aborted", "inquiry_before_decision", "participants_terminated"};
    return names[static_cast<std::size_t>(reason)];
}

const char* name_of(TransactionState state) {
    static constexpr const char* names[] = {"active",   "precommitted", "committing",
                                            "aborting", "committed",    "aborted"};
    return names[static_cast<std::size_t>(state)];
}

const char* name_of(BranchPhase phase) {
    static constexpr const char* names[] = {
        "enlisted",     "preparing",  "prepared",  "read_only", "refused", "precommitting",
        "precommitted", "committing", "committed", "aborting",  "aborted"};
    return names[static_cast<std::size_t>(phase)];
}

const char* name_of(RejectCode code) {
    static constexpr const char* names[] = {"invalid_request",
                                            "transaction_not_found",
                                            "already_decided",
                                            "registration_closed",
                                            "idempotency_key_reused",
                                            "xid_reused",
                                            "xid_closed",
                                            "unknown_participant",
                                            "participant_in_use",
                                            "participant_not_found",
                                            "too_many_branches",
                                            "overloaded",
                                            "no_leader",
                                            "outcome_unknown",
                                            "unsupported_protocol"};
    return names[static_cast<std::size_t>(code)];
}

std::string milliseconds(Duration duration) {
    return std::to_string(duration / std::chrono::milliseconds{1}) + "ms";
}

std::string text_of(const Ballot& ballot) {
    return "(" + std::to_string(ballot.round) + "," + std::to_string(ballot.proposer) + ")";
}

std::string text_of(const Begin& begin) {
    std::string text = "Begin " + begin.xid.value();
    text += begin.protocol == Protocol::three_phase ? " 3pc" : " 2pc";
    text += begin.mode == Mode::interactive ? " interactive" : "";
    for (const BranchSpec& branch : begin.branches) {
        text += " " + branch.participant.value();
    }
    return text;
}

std::string text_of(const Decide& decide) {
    std::string text = "Decide " + decide.xid.value() + " " + name_of(decide.outcome) + " (" +
                       name_of(decide.reason) + ")";
    if (!decide.detail.empty()) {
        text += " \"" + decide.detail + "\"";
    }
    for (const BranchNumber branch : decide.without_effect) {
        text += " spares " + std::to_string(branch.value());
    }
    return text;
}

std::string text_of(const TransactionView& view) {
    std::string text = view.xid.value() + " " + name_of(view.state);
    if (view.reason) {
        text += std::string{" ("} + name_of(*view.reason) + ")";
    }
    for (const BranchView& branch : view.branches) {
        text += " " + branch.participant.value() + ":" + name_of(branch.phase);
        if (!branch.last_error.empty()) {
            text += "!\"" + branch.last_error + "\"";
        }
    }
    text += " @" + std::to_string(view.changed_index.value());
    text += view.needs_attention ? " needs_attention" : "";
    return text;
}

} // namespace

Line Line::parse(const std::string& text) {
    Line line;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos) {
            line.words.push_back(word);
        } else {
            line.options[word.substr(0, equals)] = word.substr(equals + 1);
        }
    }
    return line;
}

const std::string& Line::word(std::size_t index) const {
    if (index >= words.size()) {
        throw std::runtime_error("a word is missing");
    }
    return words[index];
}

std::string Line::option(const std::string& name, std::string otherwise) const {
    const auto place = options.find(name);
    return place == options.end() ? otherwise : place->second;
}

bool Line::has(const std::string& flag) const {
    for (const std::string& word : words) {
        if (word == flag) {
            return true;
        }
    }
    return false;
}

Duration duration_of(const std::string& text) {
    long long number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string unit(end, text.data() + text.size());
    if (error != std::errc{}) {
        throw std::runtime_error("not a duration: " + text);
    }
    if (unit == "ms") {
        return std::chrono::milliseconds{number};
    }
    if (unit == "s") {
        return std::chrono::seconds{number};
    }
    if (unit == "min") {
        return std::chrono::minutes{number};
    }
    throw std::runtime_error("not a unit: " + text);
}

std::string text_of(const Command& command) {
    return std::visit(
        [](const auto& fact) -> std::string {
            using Fact = std::remove_cvref_t<decltype(fact)>;
            if constexpr (std::is_same_v<Fact, Begin> || std::is_same_v<Fact, Decide>) {
                return text_of(fact);
            } else if constexpr (std::is_same_v<Fact, Enlist>) {
                return "Enlist " + fact.xid.value() + " " + fact.branch.participant.value();
            } else if constexpr (std::is_same_v<Fact, Precommit>) {
                return "Precommit " + fact.xid.value();
            } else if constexpr (std::is_same_v<Fact, End>) {
                return "End " + fact.xid.value();
            } else if constexpr (std::is_same_v<Fact, LeaderEpoch>) {
                return "LeaderEpoch n" + std::to_string(fact.leader.value());
            } else if constexpr (std::is_same_v<Fact, ReadBarrier>) {
                return "ReadBarrier";
            } else if constexpr (std::is_same_v<Fact, PutParticipant>) {
                return "PutParticipant " + fact.name.value();
            } else if constexpr (std::is_same_v<Fact, RemoveParticipant>) {
                return "RemoveParticipant " + fact.name.value();
            } else if constexpr (std::is_same_v<Fact, Promise>) {
                return "Promise " + fact.xid.value() + " " + text_of(fact.ballot);
            } else if constexpr (std::is_same_v<Fact, Accept>) {
                return "Accept " + fact.xid.value() + " " + text_of(fact.ballot) + " " +
                       name_of(fact.value);
            } else {
                static_assert(std::is_same_v<Fact, OperatorAction>);
                return "OperatorAction " + fact.who + " " + fact.action + " " + fact.object;
            }
        },
        command);
}

std::string text_of(const ParticipantCall& call) {
    std::string text = std::string{name_of(call.key.operation)} + " #" +
                       std::to_string(call.key.attempt) + " " + call.participant.value() + "/" +
                       call.key.xid.value() + "/" + std::to_string(call.key.branch.value()) +
                       " epoch " + std::to_string(call.epoch.value());
    if (call.key.operation == Operation::prepare) {
        text += " peers";
        for (const Peer& peer : call.peers) {
            text += " " + peer.participant.value() + "/" + std::to_string(peer.branch.value());
        }
        if (call.quorum > 0) {
            text += " quorum " + std::to_string(call.quorum);
            text += call.coordinator_is_acceptor ? " with the coordinator" : "";
        }
        text += " timeout " + milliseconds(call.timeout);
    }
    return text;
}

std::string text_of(const Reply& reply) {
    if (const auto* transaction = std::get_if<TransactionReply>(&reply)) {
        std::string text = transaction->pending ? "pending " : "";
        text += transaction->created ? "created " : "";
        text += text_of(transaction->view);
        for (const TimelineEvent& event : transaction->view.timeline) {
            text += "\n       " + milliseconds(event.at.time_since_epoch()) + " " + event.event;
            text += event.branch ? " branch " + std::to_string(event.branch->value()) : "";
            text += event.detail.empty() ? "" : " \"" + event.detail + "\"";
        }
        return text;
    }
    if (const auto* page = std::get_if<TransactionPage>(&reply)) {
        std::string text = "page";
        for (const TransactionView& view : page->items) {
            text += " " + view.xid.value();
        }
        text += page->next_after_xid.empty() ? "" : " next after " + page->next_after_xid;
        return text;
    }
    if (const auto* inquiry = std::get_if<InquiryReply>(&reply)) {
        return inquiry->xid.value() + " " +
               (inquiry->outcome ? name_of(*inquiry->outcome) : "undecided");
    }
    if (const auto* participants = std::get_if<ParticipantsReply>(&reply)) {
        std::string text = "participants";
        for (const auto& [name, definition] : participants->items) {
            text += " " + name.value();
        }
        return text;
    }
    if (const auto* rejected = std::get_if<Rejected>(&reply)) {
        std::string text = std::string{"rejected "} + name_of(rejected->code);
        text += rejected->xid ? " " + rejected->xid->value() : "";
        text += " \"" + rejected->detail + "\"";
        text += rejected->leader ? " leader n" + std::to_string(rejected->leader->value()) : "";
        return text;
    }
    if (const auto* ballot = std::get_if<BallotReply>(&reply)) {
        std::string text = ballot->granted ? "granted" : "not granted";
        text += ", promised " + text_of(ballot->promised);
        if (ballot->accepted) {
            text +=
                ", accepted " + text_of(*ballot->accepted) + " " + name_of(ballot->accepted_value);
        }
        return text + (ballot->outcome ? std::string{", "} + name_of(*ballot->outcome) : "");
    }
    return "acknowledged";
}

} // namespace concordat::golden
