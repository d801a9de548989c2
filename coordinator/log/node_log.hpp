#pragma once

// The implementation of DecisionLog with its doors for tests: another file system, another way to
// die, and abrupt ends.

#include "coordinator/log/decision_log.hpp"
#include "coordinator/log/file_system.hpp"

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

namespace concordat::log {

/// What the log takes from its surroundings.
struct NodeEnvironment {
    /// Null: the operating system's.
    std::shared_ptr<FileSystem> files;
    /// Called once, on any thread, when the process must not go on (a failed write or sync, an
    /// entry that cannot be decoded). Default: says why and ends the process at once, without
    /// destructors, so that nothing is voted for or acknowledged any more.
    std::function<void(const std::string& reason)> fatal;
};

class NodeLog : public DecisionLog {
public:
    /// Ends as a killed process would: nothing that waits is written or sent any more.
    virtual void abandon() = 0;
    /// Port of the peer transport; 0 for a single node.
    [[nodiscard]] virtual std::uint16_t peer_port() const = 0;
};

std::expected<std::unique_ptr<NodeLog>, OpenError> open_node_log(Options options,
                                                                 StateMachine& machine,
                                                                 CoreExecutor executor,
                                                                 NodeEnvironment environment);

} // namespace concordat::log
