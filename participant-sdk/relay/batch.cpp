#include "participant-sdk/relay/batch.hpp"

#include <algorithm>

namespace concordat::relay {

RowView Batch::view(const Row& row) const {
    RowView view;
    view.event_id = result.bytes(row.index, row_column::event_id);
    view.created_at_us = row.created_at_us;
    view.topic = topic(row);
    view.key = key(row);
    view.type = result.bytes(row.index, row_column::type);
    if (!result.is_null(row.index, row_column::headers)) {
        // The binary form of jsonb is a version byte and the text.
        view.headers_json = result.bytes(row.index, row_column::headers).substr(1);
    }
    return view;
}

RowIdentity Batch::identity(const Row& row) const {
    RowIdentity out{.id = row.id, .bucket = static_cast<std::int16_t>(row.bucket), .event_id = {}};
    const std::string_view event = result.bytes(row.index, row_column::event_id);
    std::ranges::copy_n(event.begin(), static_cast<std::ptrdiff_t>(out.event_id.size()),
                        out.event_id.begin());
    return out;
}

std::string_view Batch::topic(const Row& row) const {
    return result.bytes(row.index, row_column::topic);
}

std::optional<std::string_view> Batch::key(const Row& row) const {
    if (result.is_null(row.index, row_column::key)) {
        return std::nullopt;
    }
    return result.bytes(row.index, row_column::key);
}

std::optional<std::string_view> Batch::payload(const Row& row) const {
    if (row.payload_elsewhere) {
        const auto& [source, index] = payloads.at(row.id);
        return source->bytes(index, 1);
    }
    if (result.is_null(row.index, row_column::payload)) {
        return std::nullopt;
    }
    return result.bytes(row.index, row_column::payload);
}

std::int32_t Batch::payload_bytes(const Row& row) const {
    return result.is_null(row.index, row_column::payload_bytes)
               ? 0
               : result.int32(row.index, row_column::payload_bytes);
}

std::size_t Batch::bytes_here(const Row& row) const {
    constexpr std::size_t fixed = 200; // ids, times, type, and what libpq and this program add
    return fixed + result.bytes(row.index, row_column::topic).size() +
           result.bytes(row.index, row_column::key).size() +
           result.bytes(row.index, row_column::headers).size() +
           result.bytes(row.index, row_column::payload).size();
}

std::unique_ptr<Batch> Batch::row_alone(const Row& row) const {
    auto alone = std::make_unique<Batch>(result.row_alone(row.index));
    alone->bytes = bytes_here(row);
    if (const auto found = payloads.find(row.id); found != payloads.end()) {
        const auto& [source, index] = found->second;
        alone->bytes += source->bytes(index, 1).size();
        alone->payloads.emplace(row.id,
                                std::pair(std::make_shared<Result>(source->row_alone(index)), 0));
    }
    alone->rows.push_back(row);
    alone->rows.front().batch = alone.get();
    alone->rows.front().index = 0;
    alone->unfinished = 1;
    return alone;
}

} // namespace concordat::relay
