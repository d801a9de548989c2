#pragma once

// The networks that participants may live in: no registered name can make the coordinator call an
// address outside them (server-side request forgery).
//
// Threading: immutable after parsing. Source: RFC 4632 (CIDR), RFC 4291 §2.5.5.2 (mapped
// addresses).

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace concordat::http {

class AllowedNetworks {
public:
    /// Without rules every address is allowed.
    AllowedNetworks() = default;
    /// "10.0.0.0/8", "fd00::/8", "192.0.2.7". Error: a sentence that quotes the wrong entry.
    [[nodiscard]] static std::expected<AllowedNetworks, std::string>
    parse(const std::vector<std::string>& networks);
    /// Allows no address at all.
    [[nodiscard]] static AllowedNetworks none();

    /// Texts that are not addresses are not allowed once there are rules.
    [[nodiscard]] bool allows(const std::string& ip) const;

private:
    using Address = std::array<std::uint8_t, 16>; ///< IPv4 as ::ffff:a.b.c.d
    struct Network {
        Address address{};
        unsigned prefix_bits = 0;
    };
    bool restricted_ = false;
    std::vector<Network> networks_;
};

} // namespace concordat::http
