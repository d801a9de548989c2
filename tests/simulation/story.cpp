// What the log says, as lines for whoever listens.

#include "coordinator/core/views.hpp"
#include "tests/simulation/world.hpp"

namespace concordat::simulation {
namespace {

std::string text_of(const core::Ballot& ballot) {
    return std::to_string(ballot.round) + "." + std::to_string(ballot.proposer);
}

/// "2pc alpha,beta"; a single submitted branch is "1pc" whatever was asked for.
std::string text_of(const core::Begin& begin) {
    std::string text = core::is_one_phase(begin.mode, begin.branches.size()) ? "1pc"
                       : begin.protocol == core::Protocol::two_phase         ? "2pc"
                                                                             : "3pc";
    char separator = ' ';
    for (const core::BranchSpec& branch : begin.branches) {
        text.append(1, separator).append(branch.participant.value());
        separator = ',';
    }
    return text;
}

} // namespace

void World::applied(const log::Entry& entry, const std::vector<core::Command>& commands) {
    if (timeline_.is_heard() && !ledger_.has_applied(entry.index)) {
        for (const core::Command& command : commands) {
            tell_applied(command);
        }
    }
    ledger_.applied(entry, commands);
    if (entry.type == log::EntryType::configuration && entry.index > voters_index_) {
        voters_index_ = entry.index;
        voters_ = *log::decode_configuration(*entry.bytes);
    }
}

void World::tell_applied(const core::Command& command) {
    const auto tell = [this](const core::Xid& xid, const char* event, const std::string& detail) {
        timeline_.tell(xid.value(), "log", event, detail);
    };
    if (const auto* begin = std::get_if<core::Begin>(&command)) {
        tell(begin->xid, "begin", text_of(*begin));
    } else if (const auto* enlist = std::get_if<core::Enlist>(&command)) {
        tell(enlist->xid, "enlist", enlist->branch.participant.value());
    } else if (const auto* precommit = std::get_if<core::Precommit>(&command)) {
        tell(precommit->xid, "precommit", {});
    } else if (const auto* decide = std::get_if<core::Decide>(&command)) {
        const bool is_late = ledger_.decision_of(decide->xid.value()).has_value();
        tell(decide->xid,
             decide->outcome == core::Outcome::committed ? "decide_commit" : "decide_abort",
             is_late ? "late" : ""); // the first decision stands
    } else if (const auto* end = std::get_if<core::End>(&command)) {
        tell(end->xid, "end", {});
    } else if (const auto* promise = std::get_if<core::Promise>(&command)) {
        tell(promise->xid, "promise", text_of(promise->ballot));
    } else if (const auto* accept = std::get_if<core::Accept>(&command)) {
        tell(accept->xid, "accept",
             text_of(accept->ballot) +
                 (accept->value == core::Outcome::committed ? " commit" : " abort"));
    }
}

} // namespace concordat::simulation
