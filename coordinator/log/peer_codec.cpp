#include "coordinator/log/peer_codec.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"
#include "coordinator/log/crc32c.hpp"

namespace concordat::log {
namespace {

constexpr std::uint32_t frame_marker = 0x50544343U; // "CCTP"
constexpr std::size_t entry_overhead_bytes = 16;

enum class Kind : std::uint8_t {
    hello = 1,
    refusal = 2,
    request_vote = 3,
    request_vote_result = 4,
    append_entries = 5,
    append_entries_result = 6,
    timeout_now = 7,
    snapshot_start = 8,
    snapshot_piece = 9,
};

class PayloadWriter {
public:
    explicit PayloadWriter(std::string& out) : writer_(out) {}

    void operator()(const Hello& hello) {
        kind(Kind::hello);
        writer_.number(hello.version);
        writer_.number(hello.from);
        writer_.number(hello.to);
        writer_.number(hello.incarnation);
        text(hello.cluster_name);
    }
    void operator()(const Refusal& refusal) {
        kind(Kind::refusal);
        text(refusal.reason);
    }
    void operator()(const Message& message) { std::visit(*this, message.body); }
    void operator()(const RequestVote& vote) {
        kind(Kind::request_vote);
        writer_.number(vote.term);
        writer_.number(vote.last_log_index);
        writer_.number(vote.last_log_term);
        flag(vote.disrupt_leader);
        flag(vote.pre_vote);
    }
    void operator()(const RequestVoteResult& result) {
        kind(Kind::request_vote_result);
        writer_.number(result.term);
        flag(result.granted);
        flag(result.pre_vote);
    }
    void operator()(const AppendEntries& append) {
        kind(Kind::append_entries);
        writer_.number(append.term);
        writer_.number(append.previous_index);
        writer_.number(append.previous_term);
        writer_.number(append.leader_commit);
        writer_.number(static_cast<std::uint32_t>(append.entries.size()));
        for (const Entry& entry : append.entries) {
            writer_.number(entry.term);
            writer_.number(static_cast<std::uint32_t>(entry.type));
            text(*entry.bytes);
        }
    }
    void operator()(const AppendEntriesResult& result) {
        kind(Kind::append_entries_result);
        writer_.number(result.term);
        writer_.number(result.rejected);
        writer_.number(result.last_log_index);
    }
    void operator()(const InstallSnapshot&) {
        CONCORDAT_ASSERT(!"snapshots travel as SnapshotStart and SnapshotPiece");
    }
    void operator()(const TimeoutNow& now) {
        kind(Kind::timeout_now);
        writer_.number(now.term);
        writer_.number(now.last_log_index);
        writer_.number(now.last_log_term);
    }
    void operator()(const SnapshotStart& start) {
        kind(Kind::snapshot_start);
        writer_.number(start.term);
        writer_.number(start.metadata.index);
        writer_.number(start.metadata.term);
        writer_.number(start.metadata.configuration_index);
        text(start.metadata.configuration);
        writer_.number(start.data_bytes);
        writer_.number(start.checksum);
    }
    void operator()(const SnapshotPiece& piece) {
        kind(Kind::snapshot_piece);
        writer_.number(piece.offset);
        text(piece.bytes);
    }

private:
    void kind(Kind value) { writer_.number(static_cast<std::uint8_t>(value)); }
    void flag(bool value) { writer_.number(static_cast<std::uint8_t>(value ? 1 : 0)); }
    void text(std::string_view value) {
        writer_.number(static_cast<std::uint32_t>(value.size()));
        writer_.bytes(value);
    }

    ByteWriter writer_;
};

class PayloadReader {
public:
    explicit PayloadReader(std::string_view payload) : reader_(payload) {}

    std::expected<PeerFrame, std::string> read() {
        auto frame = read_kind();
        if (!frame || !reader_.ok() || bad_ || reader_.remaining() != 0) {
            return std::unexpected("a frame does not hold what its kind says");
        }
        return std::move(*frame);
    }

private:
    std::optional<PeerFrame> read_kind() {
        switch (static_cast<Kind>(number<std::uint8_t>())) {
        case Kind::hello: {
            Hello hello;
            hello.version = number<std::uint32_t>();
            hello.from = number<std::uint64_t>();
            hello.to = number<std::uint64_t>();
            hello.incarnation = number<std::uint64_t>();
            hello.cluster_name = text();
            return hello;
        }
        case Kind::refusal:
            return Refusal{std::string(text())};
        case Kind::request_vote: {
            RequestVote vote;
            vote.term = number<std::uint64_t>();
            vote.last_log_index = number<std::uint64_t>();
            vote.last_log_term = number<std::uint64_t>();
            vote.disrupt_leader = flag();
            vote.pre_vote = flag();
            return message(vote);
        }
        case Kind::request_vote_result: {
            RequestVoteResult result;
            result.term = number<std::uint64_t>();
            result.granted = flag();
            result.pre_vote = flag();
            return message(result);
        }
        case Kind::append_entries:
            return message(read_append());
        case Kind::append_entries_result: {
            AppendEntriesResult result;
            result.term = number<std::uint64_t>();
            result.rejected = number<std::uint64_t>();
            result.last_log_index = number<std::uint64_t>();
            return message(result);
        }
        case Kind::timeout_now: {
            TimeoutNow now;
            now.term = number<std::uint64_t>();
            now.last_log_index = number<std::uint64_t>();
            now.last_log_term = number<std::uint64_t>();
            return message(now);
        }
        case Kind::snapshot_start: {
            SnapshotStart start;
            start.term = number<std::uint64_t>();
            start.metadata.index = number<std::uint64_t>();
            start.metadata.term = number<std::uint64_t>();
            start.metadata.configuration_index = number<std::uint64_t>();
            start.metadata.configuration = text();
            start.data_bytes = number<std::uint64_t>();
            start.checksum = number<std::uint32_t>();
            return start;
        }
        case Kind::snapshot_piece: {
            SnapshotPiece piece;
            piece.offset = number<std::uint64_t>();
            piece.bytes = text();
            return piece;
        }
        }
        return std::nullopt;
    }

    AppendEntries read_append() {
        AppendEntries append;
        append.term = number<std::uint64_t>();
        append.previous_index = number<std::uint64_t>();
        append.previous_term = number<std::uint64_t>();
        append.leader_commit = number<std::uint64_t>();
        const auto count = number<std::uint32_t>();
        if (count > reader_.remaining() / entry_overhead_bytes) {
            bad_ = true;
            return append;
        }
        append.entries.reserve(count);
        for (std::uint32_t i = 0; i < count && reader_.ok(); ++i) {
            Entry entry;
            entry.index = append.previous_index + 1 + i;
            entry.term = number<std::uint64_t>();
            const auto type = number<std::uint32_t>();
            bad_ |= type < 1 || type > 3;
            entry.type = static_cast<EntryType>(type);
            entry.bytes = std::make_shared<const std::string>(text());
            append.entries.push_back(std::move(entry));
        }
        return append;
    }

    template <class Body>
    static PeerFrame message(Body body) {
        return Message{0, 0, std::move(body)};
    }
    template <class Number>
    Number number() {
        return reader_.number<Number>();
    }
    bool flag() {
        const auto value = number<std::uint8_t>();
        bad_ |= value > 1;
        return value == 1;
    }
    std::string_view text() {
        const auto length = number<std::uint32_t>();
        return reader_.bytes(length);
    }

    ByteReader reader_;
    bool bad_ = false;
};

} // namespace

void encode_frame(const PeerFrame& frame, std::string& out) {
    const std::size_t start = out.size();
    ByteWriter{out}.zeros(frame_header_bytes);
    PayloadWriter writer{out};
    std::visit(writer, frame);
    const std::string_view payload = std::string_view{out}.substr(start + frame_header_bytes);
    std::string header;
    ByteWriter header_writer{header};
    header_writer.number(frame_marker);
    header_writer.number(static_cast<std::uint32_t>(payload.size()));
    header_writer.number(crc32c(payload));
    header_writer.number(crc32c(header));
    out.replace(start, frame_header_bytes, header);
}

std::optional<FrameHeader> decode_frame_header(std::string_view bytes,
                                               std::size_t max_payload_bytes) {
    ByteReader reader{bytes};
    const auto marker = reader.number<std::uint32_t>();
    FrameHeader header;
    header.payload_bytes = reader.number<std::uint32_t>();
    header.payload_checksum = reader.number<std::uint32_t>();
    const auto checksum = reader.number<std::uint32_t>();
    if (!reader.ok() || marker != frame_marker ||
        checksum != crc32c(bytes.substr(0, frame_header_bytes - sizeof checksum)) ||
        header.payload_bytes > max_payload_bytes) {
        return std::nullopt;
    }
    return header;
}

std::expected<PeerFrame, std::string> decode_frame(const FrameHeader& header,
                                                   std::string_view payload) {
    if (payload.size() != header.payload_bytes || crc32c(payload) != header.payload_checksum) {
        return std::unexpected("the checksum of a frame is wrong");
    }
    return PayloadReader{payload}.read();
}

std::size_t approximate_bytes(const Message& message) {
    std::size_t bytes = 64;
    if (const auto* append = std::get_if<AppendEntries>(&message.body)) {
        for (const Entry& entry : append->entries) {
            bytes += entry.bytes->size() + entry_overhead_bytes;
        }
    }
    return bytes;
}

} // namespace concordat::log
