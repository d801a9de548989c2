// Bytes of a log segment as they may come back from a disk: damage is noticed, never followed.

#include "coordinator/log/log_format.hpp"
#include "tests/fuzz/fuzz_target.hpp"

#include <memory>

namespace concordat::fuzz {
namespace {

const log::SegmentHeader header{
    .sequence = 3, .first_index = 41, .previous_bytes = 4096, .incarnation = 99};

core::SharedBytes bytes(std::string text) {
    return std::make_shared<const std::string>(std::move(text));
}

const std::vector<log::Entry>& entries() {
    static const std::vector<log::Entry> list{
        {41, 2, log::EntryType::command, bytes("12345678")},
        {42, 2, log::EntryType::barrier, bytes("")},
        {43, 3, log::EntryType::configuration, bytes(std::string(64, 'c'))},
    };
    return list;
}

} // namespace

std::vector<std::string> seeds() {
    std::string segment = log::encode_segment_header(header);
    log::encode_record(header, segment.size(), entries(), segment);
    log::encode_record(header, segment.size(), std::span(entries()).first(1), segment);
    return {segment, segment + std::string(64, '\0')};
}

bool run_one(std::string_view input) {
    const auto decoded = log::decode_segment_header(input);
    if (decoded) {
        require(log::encode_segment_header(*decoded) == input.substr(0, log::segment_header_bytes),
                "a header that passes is the one that was written");
    }
    std::size_t offset = log::segment_header_bytes;
    while (offset < input.size()) {
        const auto record = log::decode_record(header, input, offset);
        if (!record) {
            require(!record.error().empty(), "damage is described");
            break;
        }
        if (!record->has_value()) {
            break;
        }
        const log::DecodedRecord& found = **record;
        require(found.bytes > 0 && found.bytes <= input.size() - offset,
                "a record lies inside the segment");
        require(!found.entries.empty(), "a record holds entries");
        for (std::size_t i = 1; i < found.entries.size(); ++i) {
            require(found.entries[i].index == found.entries[i - 1].index + 1,
                    "entries are consecutive");
        }
        std::string again;
        log::encode_record(header, offset, found.entries, again);
        require(again == input.substr(offset, found.bytes),
                "a record that passes is the one that was written");
        offset += found.bytes;
    }
    return decoded.has_value();
}

} // namespace concordat::fuzz
