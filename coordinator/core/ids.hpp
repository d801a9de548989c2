#pragma once

// Strict identifiers of the transaction core. Every one is constructed explicitly and converts
// back only through value(), so an epoch can never be passed where a log index is meant.

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace concordat::core {

/// A number with a meaning. `Tag` only separates types.
template <class Tag, class Rep = std::uint64_t>
class StrongNumber {
public:
    constexpr StrongNumber() noexcept = default;
    constexpr explicit StrongNumber(Rep value) noexcept : value_(value) {}
    [[nodiscard]] constexpr Rep value() const noexcept { return value_; }
    constexpr auto operator<=>(const StrongNumber&) const noexcept = default;

private:
    Rep value_{};
};

/// A text with a meaning that has passed the validation of its kind.
template <class Tag>
class StrongText {
public:
    StrongText() = default;
    explicit StrongText(std::string value) noexcept : value_(std::move(value)) {}
    [[nodiscard]] const std::string& value() const noexcept { return value_; }
    [[nodiscard]] bool empty() const noexcept { return value_.empty(); }
    auto operator<=>(const StrongText&) const = default;

private:
    std::string value_;
};

/// Position of an entry in the replicated log; 0 means "none".
using LogIndex = StrongNumber<struct LogIndexTag>;
/// Log index of the LeaderEpoch entry of the current leader; never the Raft term, which a
/// single-node cluster does not advance. 0 means "no leader yet".
using Epoch = StrongNumber<struct EpochTag>;
/// Identity of a coordinator node; never re-used.
using NodeId = StrongNumber<struct NodeIdTag>;
/// Position of a branch within its transaction, from 0.
using BranchNumber = StrongNumber<struct BranchNumberTag, std::uint16_t>;
/// Correlates a client request with its reply; unique within one process.
using RequestToken = StrongNumber<struct RequestTokenTag>;

/// Transaction id: `[A-Za-z0-9._-]{1,64}`, chosen by the client or made by the leader.
using Xid = StrongText<struct XidTag>;
/// Registered name of a participant: `[a-z0-9-]{1,63}`.
using ParticipantName = StrongText<struct ParticipantNameTag>;

inline constexpr std::size_t max_xid_bytes = 64;
inline constexpr std::size_t max_participant_name_bytes = 63;

/// Nothing when `text` is not a valid xid.
[[nodiscard]] std::optional<Xid> parse_xid(std::string_view text);
/// Nothing when `text` is not a valid participant name.
[[nodiscard]] std::optional<ParticipantName> parse_participant_name(std::string_view text);

/// What a server-made xid `g<group>-<epoch>-<sequence>` consists of.
struct ServerXid {
    std::uint16_t group = 0;
    Epoch epoch;
    std::uint64_t sequence = 0; ///< from 1 within its epoch
    bool operator==(const ServerXid&) const = default;
};
[[nodiscard]] Xid make_server_xid(std::uint16_t group, Epoch epoch, std::uint64_t sequence);
/// Nothing when `xid` does not have exactly the form that make_server_xid gives.
[[nodiscard]] std::optional<ServerXid> parse_server_xid(const Xid& xid);

/// Monotonic time as told by events; the core never reads a clock. Its origin is the process's.
using Duration = std::chrono::nanoseconds;
struct MonotonicClock {
    using duration = Duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<MonotonicClock>;
    static constexpr bool is_steady = true;
};
using Instant = MonotonicClock::time_point;

/// Wall-clock milliseconds since 1970-01-01 UTC. For people only: it decides nothing.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

/// Immutable bytes shared between the table, the log and outbound calls, so that a payload is
/// never copied after it was parsed. Never null.
using SharedBytes = std::shared_ptr<const std::string>;

/// SHA-256 of a request's canonical content; decides "same body" for idempotency.
using Digest = std::string;

} // namespace concordat::core

template <class Tag, class Rep>
struct std::hash<concordat::core::StrongNumber<Tag, Rep>> {
    std::size_t operator()(const concordat::core::StrongNumber<Tag, Rep>& id) const noexcept {
        return std::hash<Rep>{}(id.value());
    }
};

template <class Tag>
struct std::hash<concordat::core::StrongText<Tag>> {
    // Not noexcept on purpose: libstdc++ then keeps the hash in the node instead of computing it
    // again for every neighbour it passes.
    std::size_t operator()(const concordat::core::StrongText<Tag>& id) const {
        return std::hash<std::string>{}(id.value());
    }
};
