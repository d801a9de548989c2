#pragma once

// Names of commands, for the failpoints of log and core loop. Empty but in test builds.
//
// Threading: kinds_of() anywhere; the log of what is being written has a mutex of its own, for the
// disk thread fills it and the core thread empties it. One log per process.

#include "participant-sdk/src/failpoint/failpoint.hpp"

#if defined(CONCORDAT_FAILPOINTS)

#    include "coordinator/log/command_codec.hpp"
#    include "coordinator/log/log_types.hpp"

#    include <array>
#    include <iterator>
#    include <map>
#    include <mutex>
#    include <span>
#    include <variant>

namespace concordat::log {

using failpoint::Kinds;

[[nodiscard]] inline std::string_view kind_of(const core::Command& command) {
    constexpr std::array<std::string_view, std::variant_size_v<core::Command>> kinds{
        "begin", "enlist",          "precommit",          "decide_commit",   "end",     "epoch",
        "read",  "put_participant", "remove_participant", "operator_action", "promise", "accept"};
    const auto* decide = std::get_if<core::Decide>(&command);
    return decide != nullptr && decide->outcome == core::Outcome::aborted ? "decide_abort"
                                                                          : kinds[command.index()];
}

[[nodiscard]] inline Kinds kinds_of(std::span<const core::Command> commands) {
    Kinds kinds;
    for (const core::Command& command : commands) {
        kinds.push_back(kind_of(command));
    }
    return kinds;
}

[[nodiscard]] inline Kinds kinds_of(const Entry& entry) {
    if (entry.type != EntryType::command) {
        return {};
    }
    const auto commands = decode_commands(*entry.bytes);
    return commands ? kinds_of(*commands) : Kinds{};
}

/// Of an entry that is new in the life of this process: what a restart replays is no step.
[[nodiscard]] inline Kinds kinds_behind(Index last_known_at_start, const Entry& entry) {
    return entry.index > last_known_at_start ? kinds_of(entry) : Kinds{};
}

[[nodiscard]] inline Kinds kinds_of(const std::vector<Entry>& entries) {
    Kinds kinds;
    for (const Entry& entry : entries) {
        const Kinds more = kinds_of(entry);
        kinds.insert(kinds.end(), more.begin(), more.end());
    }
    return kinds;
}

/// Of the entries that a peer sends or is sent; heartbeats have none.
[[nodiscard]] inline Kinds kinds_of(const Message& message) {
    const auto* append = std::get_if<AppendEntries>(&message.body);
    return append == nullptr ? Kinds{} : kinds_of(append->entries);
}

/// Entries between the disk and the engine, which is told their index only.
class WrittenEntries {
public:
    static WrittenEntries& instance() {
        static WrittenEntries only;
        return only;
    }
    Kinds add(const std::vector<std::vector<Entry>>& batches) {
        const std::lock_guard lock(mutex_);
        Kinds kinds;
        for (const auto& batch : batches) {
            for (const Entry& entry : batch) {
                waiting_[entry.index] = kinds_of(entry);
                kinds.insert(kinds.end(), waiting_[entry.index].begin(),
                             waiting_[entry.index].end());
            }
        }
        return kinds;
    }
    Kinds through(Index index, bool take) {
        const std::lock_guard lock(mutex_);
        Kinds kinds;
        const auto end = waiting_.upper_bound(index);
        for (auto entry = waiting_.begin(); entry != end; ++entry) {
            kinds.insert(kinds.end(), entry->second.begin(), entry->second.end());
        }
        if (take) {
            waiting_.erase(waiting_.begin(), end);
        }
        return kinds;
    }

private:
    std::mutex mutex_;
    std::map<Index, Kinds> waiting_;
};

} // namespace concordat::log

#endif
