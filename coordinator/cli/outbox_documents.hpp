#pragma once

// The documents of concordat-relay's endpoint as the command line needs them: bodies of changes,
// tables to print, and keys, which may be any bytes, as text.
//
// Threading: pure functions, except the printing ones, which write to stdout and stderr.
// Errors: a document that is not what the relay promises prints as it is.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::cli {

/// A key or payload for people: as it is when it is printable UTF-8, else "\x" and hexadecimal
/// digits, as PostgreSQL writes it.
[[nodiscard]] std::string readable_bytes(std::string_view hex);
/// "1.5 s", "2 min", "3.2 h", "4.0 d"; "unknown" below 0.
[[nodiscard]] std::string readable_duration(std::int64_t milliseconds);

/// What a change is about: a parked key, or with `id` a dead row.
struct OutboxEntry {
    std::string topic;
    std::string key;
    std::optional<std::int64_t> id;
};
[[nodiscard]] std::string change_body(const OutboxEntry& entry, const std::string& by,
                                      const std::string& reason);

void print_outbox(const std::string& status, const std::string& leases, bool json);
/// `limit`: of the page; a full one has a successor, which is told on stderr.
void print_parked(const std::string& body, int limit, bool json);
void print_dead(const std::string& body, int limit, bool json);
void print_dead_row(const std::string& body, bool json);

} // namespace concordat::cli
