#include "coordinator/log/log_format.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"
#include "coordinator/log/crc32c.hpp"

#include <fmt/core.h>

#include <charconv>
#include <limits>

namespace concordat::log {
namespace {

constexpr std::string_view segment_magic = "CCDTLOG\n";
constexpr std::uint32_t record_marker = 0x44524343U; // "CCRD"
constexpr std::size_t entry_header_bytes = 16;
constexpr std::string_view segment_suffix = ".segment";
constexpr std::size_t sequence_digits = 20;

std::uint32_t place_seed(const SegmentHeader& segment, std::uint64_t offset) {
    std::string place;
    ByteWriter writer{place};
    writer.number(segment.sequence);
    writer.number(segment.incarnation);
    writer.number(offset);
    return crc32c(place);
}

bool all_zero(std::string_view bytes) {
    return bytes.find_first_not_of('\0') == std::string_view::npos;
}

std::expected<std::vector<Entry>, std::string>
decode_entries(std::string_view payload, Index first_index, std::uint32_t count) {
    std::vector<Entry> entries;
    ByteReader reader{payload};
    for (std::uint32_t i = 0; i < count; ++i) {
        Entry entry;
        entry.index = first_index + i;
        entry.term = reader.number<std::uint64_t>();
        const auto type = reader.number<std::uint32_t>();
        const auto length = reader.number<std::uint32_t>();
        const std::string_view bytes = reader.bytes(length);
        reader.skip(round_up_to_8(length) - length);
        if (!reader.ok() || type < 1 || type > 3) {
            return std::unexpected("the entries of a record do not fill it");
        }
        entry.type = static_cast<EntryType>(type);
        entry.bytes = std::make_shared<const std::string>(bytes);
        entries.push_back(std::move(entry));
    }
    if (reader.remaining() != 0 || entries.empty()) {
        return std::unexpected("the entries of a record do not fill it");
    }
    return entries;
}

} // namespace

std::string encode_segment_header(const SegmentHeader& header) {
    std::string bytes;
    ByteWriter writer{bytes};
    writer.bytes(segment_magic);
    writer.number(segment_format_version);
    writer.number(std::uint32_t{header.restarts_log ? 1U : 0U});
    writer.number(header.sequence);
    writer.number(header.first_index);
    writer.number(header.previous_bytes);
    writer.number(header.incarnation);
    writer.zeros(segment_header_bytes - bytes.size() - sizeof(std::uint32_t));
    writer.number(crc32c(bytes));
    return bytes;
}

std::optional<SegmentHeader> decode_segment_header(std::string_view bytes) {
    if (bytes.size() < segment_header_bytes) {
        return std::nullopt;
    }
    bytes = bytes.substr(0, segment_header_bytes);
    ByteReader reader{bytes};
    const bool known = reader.bytes(segment_magic.size()) == segment_magic &&
                       reader.number<std::uint32_t>() == segment_format_version;
    SegmentHeader header;
    header.restarts_log = reader.number<std::uint32_t>() != 0;
    header.sequence = reader.number<std::uint64_t>();
    header.first_index = reader.number<std::uint64_t>();
    header.previous_bytes = reader.number<std::uint64_t>();
    header.incarnation = reader.number<std::uint64_t>();
    ByteReader checksum{bytes.substr(segment_header_bytes - sizeof(std::uint32_t))};
    const bool intact = checksum.number<std::uint32_t>() ==
                        crc32c(bytes.substr(0, segment_header_bytes - sizeof(std::uint32_t)));
    if (!known || !intact || header.sequence == 0 || header.first_index == 0) {
        return std::nullopt;
    }
    return header;
}

std::size_t record_bytes(std::span<const Entry> entries) {
    std::size_t bytes = record_header_bytes;
    for (const Entry& entry : entries) {
        bytes += entry_header_bytes + round_up_to_8(entry.bytes->size());
    }
    return bytes;
}

void encode_record(const SegmentHeader& segment, std::uint64_t offset,
                   std::span<const Entry> entries, std::string& out) {
    CONCORDAT_ASSERT(!entries.empty());
    const std::size_t start = out.size();
    const std::size_t payload_bytes = record_bytes(entries) - record_header_bytes;
    CONCORDAT_ASSERT(payload_bytes <= std::numeric_limits<std::uint32_t>::max());
    out.reserve(start + record_header_bytes + payload_bytes);
    ByteWriter writer{out};
    writer.zeros(record_header_bytes);
    for (const Entry& entry : entries) {
        writer.number(entry.term);
        writer.number(static_cast<std::uint32_t>(entry.type));
        writer.number(static_cast<std::uint32_t>(entry.bytes->size()));
        writer.bytes(*entry.bytes);
        writer.zeros(round_up_to_8(entry.bytes->size()) - entry.bytes->size());
    }
    const std::uint32_t seed = place_seed(segment, offset);
    const std::string_view payload = std::string_view{out}.substr(start + record_header_bytes);
    std::string header;
    ByteWriter header_writer{header};
    header_writer.number(record_marker);
    header_writer.number(static_cast<std::uint32_t>(payload_bytes));
    header_writer.number(entries.front().index);
    header_writer.number(entries.front().term);
    header_writer.number(static_cast<std::uint32_t>(entries.size()));
    header_writer.number(crc32c(payload, seed));
    header_writer.number(std::uint32_t{0});
    header_writer.number(crc32c(header, seed));
    out.replace(start, record_header_bytes, header);
}

std::expected<std::optional<DecodedRecord>, std::string>
decode_record(const SegmentHeader& segment, std::string_view content, std::uint64_t offset) {
    if (offset >= content.size() || all_zero(content.substr(offset, record_header_bytes))) {
        return std::nullopt;
    }
    const std::string_view header = content.substr(offset, record_header_bytes);
    if (header.size() < record_header_bytes) {
        return std::unexpected("a record header is cut off");
    }
    const std::uint32_t seed = place_seed(segment, offset);
    ByteReader reader{header};
    const auto marker = reader.number<std::uint32_t>();
    const auto payload_bytes = reader.number<std::uint32_t>();
    const auto first_index = reader.number<std::uint64_t>();
    const auto first_term = reader.number<std::uint64_t>();
    const auto count = reader.number<std::uint32_t>();
    const auto payload_checksum = reader.number<std::uint32_t>();
    reader.skip(sizeof(std::uint32_t));
    const auto header_checksum = reader.number<std::uint32_t>();
    if (marker != record_marker ||
        header_checksum != crc32c(header.substr(0, record_header_bytes - 4), seed)) {
        return std::unexpected("the checksum of a record header is wrong");
    }
    const std::string_view payload = content.substr(offset + record_header_bytes, payload_bytes);
    if (payload.size() < payload_bytes) {
        return std::unexpected("a record is cut off");
    }
    if (payload_checksum != crc32c(payload, seed)) {
        return std::unexpected("the checksum of a record is wrong");
    }
    auto entries = decode_entries(payload, first_index, count);
    if (!entries) {
        return std::unexpected(entries.error());
    }
    if (first_index == 0 || entries->front().term != first_term) {
        return std::unexpected("a record contradicts its header");
    }
    return DecodedRecord{std::move(*entries), record_header_bytes + payload_bytes};
}

std::string segment_name(std::uint64_t sequence) {
    return fmt::format("{:020}{}", sequence, segment_suffix);
}

std::optional<std::uint64_t> parse_segment_name(std::string_view name) {
    if (name.size() != sequence_digits + segment_suffix.size() || !name.ends_with(segment_suffix)) {
        return std::nullopt;
    }
    std::uint64_t sequence = 0;
    const char* end = name.data() + sequence_digits;
    const auto [stop, error] = std::from_chars(name.data(), end, sequence);
    if (error != std::errc{} || stop != end || sequence == 0) {
        return std::nullopt;
    }
    return sequence;
}

} // namespace concordat::log
