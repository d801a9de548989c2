#include "coordinator/http/allowed_networks.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>

namespace concordat::http {
namespace {

using Address = std::array<std::uint8_t, 16>;
constexpr unsigned mapped_prefix_bits = 96;

struct ParsedAddress {
    Address bytes{};
    bool is_v4 = false;
};

std::optional<ParsedAddress> parse_address(const std::string& text) {
    ParsedAddress out;
    std::array<std::uint8_t, 4> v4{};
    if (inet_pton(AF_INET, text.c_str(), v4.data()) == 1) {
        out.is_v4 = true;
        out.bytes[10] = 0xFF;
        out.bytes[11] = 0xFF;
        std::copy(v4.begin(), v4.end(), out.bytes.begin() + 12);
        return out;
    }
    // A scope such as fe80::1%eth0 names an interface, not another network.
    if (inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), out.bytes.data()) == 1) {
        return out;
    }
    return std::nullopt;
}

bool in_network(const Address& address, const Address& network, unsigned prefix_bits) {
    const std::size_t whole = prefix_bits / 8;
    if (!std::equal(address.begin(), address.begin() + static_cast<std::ptrdiff_t>(whole),
                    network.begin())) {
        return false;
    }
    const unsigned rest = prefix_bits % 8;
    if (rest == 0) {
        return true;
    }
    const auto mask = static_cast<std::uint8_t>(0xFFU << (8 - rest));
    return (address[whole] & mask) == (network[whole] & mask);
}

} // namespace

std::expected<AllowedNetworks, std::string>
AllowedNetworks::parse(const std::vector<std::string>& networks) {
    AllowedNetworks out;
    out.restricted_ = !networks.empty();
    for (const std::string& text : networks) {
        const auto wrong = [&text] {
            return std::unexpected("'" + text + "' is not a network such as 10.0.0.0/8");
        };
        const std::size_t slash = text.find('/');
        const auto address = parse_address(text.substr(0, slash));
        if (!address) {
            return wrong();
        }
        const unsigned most = address->is_v4 ? 32 : 128;
        unsigned bits = most;
        if (slash != std::string::npos) {
            const std::string_view digits = std::string_view(text).substr(slash + 1);
            const auto [end, error] =
                std::from_chars(digits.data(), digits.data() + digits.size(), bits);
            if (error != std::errc{} || end != digits.data() + digits.size() || bits > most) {
                return wrong();
            }
        }
        out.networks_.push_back(
            {address->bytes, address->is_v4 ? bits + mapped_prefix_bits : bits});
    }
    return out;
}

AllowedNetworks AllowedNetworks::none() {
    AllowedNetworks out;
    out.restricted_ = true;
    return out;
}

bool AllowedNetworks::allows(const std::string& ip) const {
    if (!restricted_) {
        return true;
    }
    const auto address = parse_address(ip);
    return address && std::any_of(networks_.begin(), networks_.end(), [&](const Network& network) {
               return in_network(address->bytes, network.address, network.prefix_bits);
           });
}

} // namespace concordat::http
