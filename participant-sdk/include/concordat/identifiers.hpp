#pragma once

// Names and small values that the whole SDK shares.
//
// Threading: values. Errors: parse() returns nothing for text outside the grammar; a value that
// exists is valid, so no function that takes one checks it again.

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace concordat {

/// Transaction id: `[A-Za-z0-9._-]{1,64}`.
class Xid {
public:
    [[nodiscard]] static std::optional<Xid> parse(std::string_view text);
    /// 128 random bits as text. Chosen by the client before the first attempt, it makes every retry
    /// of a submission the same submission.
    [[nodiscard]] static Xid random();
    [[nodiscard]] const std::string& value() const noexcept { return value_; }
    auto operator<=>(const Xid&) const = default;

private:
    explicit Xid(std::string value) noexcept : value_(std::move(value)) {}
    std::string value_;
};

/// Name under which a participant is registered: `[a-z0-9-]{1,63}`.
class ParticipantName {
public:
    [[nodiscard]] static std::optional<ParticipantName> parse(std::string_view text);
    [[nodiscard]] const std::string& value() const noexcept { return value_; }
    auto operator<=>(const ParticipantName&) const = default;

private:
    explicit ParticipantName(std::string value) noexcept : value_(std::move(value)) {}
    std::string value_;
};

/// One participant's share of a transaction; branches count from 0.
struct BranchKey {
    Xid xid;
    std::uint16_t branch = 0;
    auto operator<=>(const BranchKey&) const = default;
};

enum class Protocol : std::uint8_t { two_phase, three_phase };
enum class Outcome : std::uint8_t { committed, aborted };
enum class Vote : std::uint8_t { yes, no, read_only };

/// What is known about the effect of something that failed.
enum class Effect : std::uint8_t { none, unknown, applied };

[[nodiscard]] std::string_view name_of(Protocol protocol) noexcept; ///< "2pc", "3pc"
[[nodiscard]] std::string_view name_of(Outcome outcome) noexcept;   ///< "committed", "aborted"
[[nodiscard]] std::string_view name_of(Vote vote) noexcept;         ///< "yes", "no", "read_only"
[[nodiscard]] std::string_view name_of(Effect effect) noexcept;     ///< "none", …

} // namespace concordat
