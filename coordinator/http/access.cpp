#include "coordinator/http/access.hpp"

#include "coordinator/core/assert.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <charconv>
#include <sstream>
#include <system_error>

namespace concordat::http {
namespace {

std::optional<Role> role_from(std::string_view text) {
    if (text == "client") {
        return Role::client;
    }
    if (text == "participant") {
        return Role::participant;
    }
    if (text == "operator") {
        return Role::operations;
    }
    if (text == "viewer") {
        return Role::viewer;
    }
    return std::nullopt;
}

std::optional<Sha256> digest_from_hex(std::string_view hex) {
    Sha256 digest{};
    if (hex.size() != 2 * digest.size()) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < digest.size(); ++i) {
        const char* begin = hex.data() + 2 * i;
        const auto [end, error] = std::from_chars(begin, begin + 2, digest[i], 16);
        if (error != std::errc{} || end != begin + 2) {
            return std::nullopt;
        }
    }
    return digest;
}

std::optional<std::string_view> bearer_token(const transport::Headers& headers) {
    static constexpr std::string_view scheme = "Bearer ";
    const auto found = headers.find("Authorization");
    if (!found || headers.count("Authorization") != 1 || found->size() <= scheme.size() ||
        !transport::equals_ignoring_case(found->substr(0, scheme.size()), scheme)) {
        return std::nullopt;
    }
    return found->substr(scheme.size());
}

} // namespace

Sha256 sha256(std::string_view bytes) {
    // Fetched once: looking the algorithm up costs more than digesting a small request.
    static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    Sha256 digest{};
    unsigned length = 0;
    CONCORDAT_ASSERT(
        EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, algorithm, nullptr) == 1);
    CONCORDAT_ASSERT(length == digest.size());
    return digest;
}

std::expected<AccessTable, std::string> AccessTable::parse(std::string_view text) {
    AccessTable table;
    std::istringstream lines{std::string(text)};
    std::string line;
    for (std::size_t number = 1; std::getline(lines, line); ++number) {
        const auto wrong = [number](std::string_view what) {
            return std::unexpected("line " + std::to_string(number) + ": " + std::string(what));
        };
        std::istringstream words{line.substr(0, line.find('#'))};
        std::string kind;
        std::string role_name;
        Entry entry;
        if (!(words >> kind)) {
            continue;
        }
        if (kind != "token" && kind != "certificate") {
            return wrong("must start with token or certificate");
        }
        if (!(words >> role_name >> entry.identity.name)) {
            return wrong("role and name are missing");
        }
        const auto role = role_from(role_name);
        if (!role) {
            return wrong("the role must be client, participant, operator or viewer");
        }
        entry.identity.role = *role;
        std::string rest;
        if (kind == "token") {
            words >> rest;
            entry.token = digest_from_hex(rest);
            if (!entry.token) {
                return wrong("a token is given as the 64 hex digits of its SHA-256");
            }
        }
        if (words >> rest) {
            return wrong("unexpected text at the end");
        }
        table.entries_.push_back(std::move(entry));
    }
    return table;
}

std::optional<Identity> AccessTable::identify(const transport::Request& request) const {
    if (is_open()) {
        return Identity{request.peer_identity.empty() ? "anonymous" : request.peer_identity,
                        Role::operations};
    }
    if (const auto token = bearer_token(request.headers)) {
        const Sha256 digest = sha256(*token);
        const Entry* match = nullptr;
        // All entries are compared, so that the time says nothing about which one was close.
        for (const Entry& entry : entries_) {
            if (entry.token &&
                CRYPTO_memcmp(entry.token->data(), digest.data(), digest.size()) == 0) {
                match = &entry;
            }
        }
        return match != nullptr ? std::optional(match->identity) : std::nullopt;
    }
    if (!request.peer_identity.empty()) {
        for (const Entry& entry : entries_) {
            if (!entry.token && entry.identity.name == request.peer_identity) {
                return entry.identity;
            }
        }
    }
    return std::nullopt;
}

} // namespace concordat::http
