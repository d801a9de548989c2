#include "coordinator/core/views.hpp"

#include <algorithm>

namespace concordat::core {
namespace {

bool is_without_effect(const TransactionRecord& record, std::size_t branch) {
    if (!record.decision) {
        return false;
    }
    const auto& list = record.decision->without_effect;
    return std::any_of(list.begin(), list.end(),
                       [branch](BranchNumber number) { return number.value() == branch; });
}

/// The phase that follows from the log alone.
BranchPhase phase_of(const TransactionRecord& record, std::size_t branch) {
    const bool spared = is_without_effect(record, branch);
    switch (record.state) {
    case TransactionState::active:
        return record.begin.mode == Mode::submit ? BranchPhase::preparing : BranchPhase::enlisted;
    case TransactionState::precommitted:
        return BranchPhase::precommitting;
    case TransactionState::committing:
        return spared ? BranchPhase::read_only : BranchPhase::committing;
    case TransactionState::committed:
        return spared && !is_one_phase(record.begin.mode, record.begin.branches.size())
                   ? BranchPhase::read_only
                   : BranchPhase::committed;
    case TransactionState::aborting:
        return spared ? BranchPhase::aborted : BranchPhase::aborting;
    case TransactionState::aborted:
        return BranchPhase::aborted;
    }
    return BranchPhase::enlisted;
}

void add_known_events(TransactionView& view, const VolatileTransaction& known) {
    view.timeline.reserve(known.events.size() + 1);
    for (const CompactEvent& event : known.events) {
        TimelineEvent line;
        line.at = event.at;
        line.event = name_of(event.kind);
        if (event.branch != CompactEvent::no_branch) {
            line.branch = BranchNumber{static_cast<std::uint16_t>(event.branch)};
        }
        if (event.detail != 0) {
            line.detail = known.details[event.detail - 1];
        }
        view.timeline.push_back(std::move(line));
    }
    if (known.events_dropped > 0) {
        view.timeline.push_back({view.timeline.back().at, "events_dropped", std::nullopt,
                                 std::to_string(known.events_dropped)});
    }
}

void add_recorded_events(TransactionView& view, const TransactionRecord& record) {
    view.timeline.push_back({record.begin.created_at, "begun", std::nullopt, {}});
    if (record.precommitted_at) {
        view.timeline.push_back({*record.precommitted_at, "precommitted", std::nullopt, {}});
    }
    if (record.decision) {
        const bool committed = record.decision->outcome == Outcome::committed;
        view.timeline.push_back({record.decision->at,
                                 committed ? "decided_commit" : "decided_abort", std::nullopt,
                                 record.decision->detail});
    }
    if (record.finished_at) {
        view.timeline.push_back({*record.finished_at, "ended", std::nullopt, {}});
    }
}

} // namespace

const char* name_of(EventKind kind) noexcept {
    switch (kind) {
    case EventKind::begun:
        return "begun";
    case EventKind::resumed:
        return "resumed";
    case EventKind::enlisted:
        return "enlisted";
    case EventKind::commit_requested:
        return "commit_requested";
    case EventKind::voted_yes:
        return "voted_yes";
    case EventKind::voted_no:
        return "voted_no";
    case EventKind::voted_read_only:
        return "voted_read_only";
    case EventKind::call_failed:
        return "call_failed";
    case EventKind::precommitted:
        return "precommitted";
    case EventKind::accepted:
        return "accepted";
    case EventKind::superseded:
        return "superseded";
    case EventKind::deadline_passed:
        return "deadline_passed";
    case EventKind::decided_commit:
        return "decided_commit";
    case EventKind::decided_abort:
        return "decided_abort";
    case EventKind::acknowledged:
        return "acknowledged";
    case EventKind::alarm:
        return "alarm";
    case EventKind::retry_requested:
        return "retry_requested";
    case EventKind::ended:
        return "ended";
    }
    return "unknown";
}

TransactionView make_view(const TransactionRecord& record, const VolatileTransaction* known,
                          bool with_timeline) {
    TransactionView view;
    view.xid = record.begin.xid;
    view.protocol = record.begin.protocol;
    view.mode = record.begin.mode;
    view.state = record.state;
    view.metadata = record.begin.metadata;
    view.created_at = record.begin.created_at;
    view.changed_index = record.changed_index;
    view.finished_at = record.finished_at;
    if (record.decision) {
        view.outcome = record.decision->outcome;
        view.reason = record.decision->reason;
        view.detail = record.decision->detail;
        view.decided_at = record.decision->at;
    }
    view.branches.resize(record.begin.branches.size());
    for (std::size_t i = 0; i < view.branches.size(); ++i) {
        BranchView& branch = view.branches[i];
        branch.participant = record.begin.branches[i].participant;
        if (known != nullptr && i < known->branches.size()) {
            branch.phase = known->branches[i].phase;
            branch.attempts = known->branches[i].tries;
            branch.last_error = known->branches[i].last_error;
        } else {
            branch.phase = phase_of(record, i);
        }
    }
    if (known != nullptr) {
        view.needs_attention = known->attention && known->is_live();
    }
    if (with_timeline) {
        if (known != nullptr && !known->events.empty()) {
            add_known_events(view, *known);
        } else {
            add_recorded_events(view, record);
        }
    }
    return view;
}

} // namespace concordat::core
