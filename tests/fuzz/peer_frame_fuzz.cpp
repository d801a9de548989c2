// Frames between nodes. The checksum is made to fit, so that the mutations reach the decoder behind
// it.

#include "coordinator/log/crc32c.hpp"
#include "coordinator/log/peer_codec.hpp"
#include "tests/fuzz/fuzz_target.hpp"

#include <memory>

namespace concordat::fuzz {
namespace {

std::string payload_of(const log::PeerFrame& frame) {
    std::string encoded;
    log::encode_frame(frame, encoded);
    return encoded.substr(log::frame_header_bytes);
}

log::Message message(decltype(log::Message::body) body) {
    return {.from = 0, .to = 0, .body = std::move(body)};
}

} // namespace

std::vector<std::string> seeds() {
    const auto bytes = std::make_shared<const std::string>("12345678");
    log::AppendEntries append{.term = 2,
                              .previous_index = 4,
                              .previous_term = 1,
                              .leader_commit = 4,
                              .entries = {{5, 2, log::EntryType::command, bytes},
                                          {6, 2, log::EntryType::barrier, bytes}}};
    return {
        payload_of(log::Hello{.cluster_name = "c", .from = 1, .to = 2, .incarnation = 3}),
        payload_of(log::Refusal{"another cluster"}),
        payload_of(message(log::RequestVote{.term = 3, .last_log_index = 9, .last_log_term = 2})),
        payload_of(message(log::RequestVoteResult{.term = 3, .granted = true})),
        payload_of(message(append)),
        payload_of(message(log::AppendEntriesResult{.term = 2, .last_log_index = 6})),
        payload_of(message(log::TimeoutNow{.term = 2})),
        payload_of(
            log::SnapshotStart{.term = 2, .metadata = {9, 2, 1, "12345678"}, .data_bytes = 10}),
        payload_of(log::SnapshotPiece{.offset = 0, .bytes = "0123456789"})};
}

bool run_one(std::string_view input) {
    const log::FrameHeader header{.payload_bytes = static_cast<std::uint32_t>(input.size()),
                                  .payload_checksum = log::crc32c(input)};
    const auto frame = log::decode_frame(header, input);
    if (frame) {
        require(payload_of(*frame) == input, "a frame that passes is the one that was written");
    } else {
        require(!frame.error().empty(), "every refusal has words");
    }
    constexpr std::size_t limit = 1U << 20U;
    if (const auto decoded = log::decode_frame_header(input, limit)) {
        require(decoded->payload_bytes <= limit, "a frame is bounded before memory is reserved");
    }
    return frame.has_value();
}

} // namespace concordat::fuzz
