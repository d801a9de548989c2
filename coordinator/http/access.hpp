#pragma once

// Who calls, and which role may use which route.
//
// What: bearer tokens and certificate names map to a name and a role; the route table says which
// roles a route is for. Tokens are kept as SHA-256 digests and compared in constant time.
// Why a file: secrets never travel in flags or the environment. One line per caller:
//
//   token <role> <name> <sha256 of the token, 64 hex digits>
//   certificate <role> <name in the verified client certificate>
//
// with the roles client, participant, operator, viewer; '#' starts a comment.
//
// Threading: immutable after parsing. Errors: parse names the line; identify yields nothing.

#include "participant-sdk/src/transport/message.hpp"

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::http {

enum class Role : std::uint8_t { client = 1, participant = 2, operations = 4, viewer = 8 };
using RoleSet = std::uint8_t;

[[nodiscard]] constexpr RoleSet operator|(Role left, Role right) noexcept {
    return static_cast<RoleSet>(static_cast<RoleSet>(left) | static_cast<RoleSet>(right));
}
[[nodiscard]] constexpr RoleSet operator|(RoleSet left, Role right) noexcept {
    return static_cast<RoleSet>(left | static_cast<RoleSet>(right));
}
[[nodiscard]] constexpr bool holds(RoleSet set, Role role) noexcept {
    return (set & static_cast<RoleSet>(role)) != 0;
}

struct Identity {
    std::string name;
    Role role = Role::viewer;
};

using Sha256 = std::array<unsigned char, 32>;
[[nodiscard]] Sha256 sha256(std::string_view bytes);

class AccessTable {
public:
    /// No entries: every caller may do everything (a development set-up on loopback).
    AccessTable() = default;
    /// Error: a sentence with the line number, never with the content of the line.
    [[nodiscard]] static std::expected<AccessTable, std::string> parse(std::string_view text);

    [[nodiscard]] bool is_open() const noexcept { return entries_.empty(); }
    /// Nothing: the credentials are missing or wrong.
    [[nodiscard]] std::optional<Identity> identify(const transport::Request& request) const;

private:
    struct Entry {
        Identity identity;
        std::optional<Sha256> token; ///< absent: a certificate name
    };
    std::vector<Entry> entries_;
};

} // namespace concordat::http
