#pragma once

// Bytes between coordinator nodes. Every frame is a 16-byte header (marker, length, CRC32C of the
// payload, CRC32C of the header) and a payload: a hello, a refusal, an engine message, or a piece
// of a snapshot. Every length is checked before memory is reserved for it; what does not decode
// ends the connection.
//
// Pure functions; any thread.

#include "coordinator/log/log_types.hpp"

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace concordat::log {

inline constexpr std::uint32_t peer_protocol_version = 1;
inline constexpr std::size_t frame_header_bytes = 16;
inline constexpr std::size_t max_handshake_bytes = 4096;

/// First frame in both directions.
struct Hello {
    std::uint32_t version = peer_protocol_version;
    std::string cluster_name;
    Peer from = 0;
    Peer to = 0;
    std::uint64_t incarnation = 0; ///< of the sender's data directory
};
/// Answer to a hello instead of a hello.
struct Refusal {
    std::string reason;
};
/// Announces a snapshot; pieces follow in order until `data_bytes` have arrived.
struct SnapshotStart {
    Term term = 0;
    SnapshotMetadata metadata;
    std::uint64_t data_bytes = 0;
    std::uint32_t checksum = 0; ///< CRC32C of all data
};
struct SnapshotPiece {
    std::uint64_t offset = 0;
    std::string bytes;
};

/// What a frame may hold. A Message is never an InstallSnapshot and carries no sender or receiver:
/// those belong to the connection.
using PeerFrame = std::variant<Hello, Refusal, Message, SnapshotStart, SnapshotPiece>;

/// Appends header and payload to `out`.
void encode_frame(const PeerFrame& frame, std::string& out);

struct FrameHeader {
    std::uint32_t payload_bytes = 0;
    std::uint32_t payload_checksum = 0;
};
/// Nothing when the header is damaged or announces more than `max_payload_bytes`.
[[nodiscard]] std::optional<FrameHeader> decode_frame_header(std::string_view bytes,
                                                             std::size_t max_payload_bytes);
/// The error says what is wrong.
[[nodiscard]] std::expected<PeerFrame, std::string> decode_frame(const FrameHeader& header,
                                                                 std::string_view payload);

/// Bytes that a message occupies in a queue, roughly.
[[nodiscard]] std::size_t approximate_bytes(const Message& message);

} // namespace concordat::log
