#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/identifiers.hpp>

#include <random>

namespace concordat {

std::optional<Xid> Xid::parse(std::string_view text) {
    if (!wire::is_xid(text)) {
        return std::nullopt;
    }
    return Xid(std::string(text));
}

Xid Xid::random() {
    // Each call asks the system: a process that was forked or restored must not repeat itself.
    std::random_device source;
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (int word = 0; word < 4; ++word) {
        std::uint32_t bits = source();
        for (int digit = 0; digit < 8; ++digit) {
            text += digits[bits & 0xFU];
            bits >>= 4U;
        }
    }
    return Xid(std::move(text));
}

std::optional<ParticipantName> ParticipantName::parse(std::string_view text) {
    if (!wire::is_participant_name(text)) {
        return std::nullopt;
    }
    return ParticipantName(std::string(text));
}

std::string_view name_of(Protocol protocol) noexcept {
    return protocol == Protocol::three_phase ? "3pc" : "2pc";
}

std::string_view name_of(Outcome outcome) noexcept {
    return outcome == Outcome::committed ? "committed" : "aborted";
}

std::string_view name_of(Vote vote) noexcept {
    switch (vote) {
    case Vote::yes:
        return "yes";
    case Vote::no:
        return "no";
    case Vote::read_only:
        return "read_only";
    }
    return "no";
}

std::string_view name_of(Effect effect) noexcept {
    switch (effect) {
    case Effect::none:
        return "none";
    case Effect::unknown:
        return "unknown";
    case Effect::applied:
        return "applied";
    }
    return "unknown";
}

} // namespace concordat
