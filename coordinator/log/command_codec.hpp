#pragma once

// Encoding of log entries and snapshots: eight bytes of version and length, protobuf
// (command.proto), zeros up to a multiple of eight (libraft wants that). A node that meets
// something it does not know gets an error instead of a guess, and stops before applying it
// (rolling upgrade).
//
// Pure functions; any thread.

#include "coordinator/core/commands.hpp"
#include "coordinator/core/replicated_state.hpp"

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::log {

[[nodiscard]] std::string encode_commands(std::span<const core::Command> commands);
[[nodiscard]] std::expected<std::vector<core::Command>, std::string>
decode_commands(std::string_view bytes);

[[nodiscard]] std::string encode_snapshot(const core::SnapshotContent& content);
[[nodiscard]] std::expected<core::SnapshotContent, std::string>
decode_snapshot(std::string_view bytes);

} // namespace concordat::log
