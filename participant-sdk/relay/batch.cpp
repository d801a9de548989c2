#include "participant-sdk/relay/batch.hpp"

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

} // namespace concordat::relay
