// A row of a batch that goes on alone while the others are let go.

#include "participant-sdk/relay/batch.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace concordat::relay {
namespace {

constexpr int columns = 10;

// A result in binary format, as the server sends it.
class Made {
public:
    explicit Made(int count) : result_(PQmakeEmptyPGresult(nullptr, PGRES_TUPLES_OK)) {
        std::array<PGresAttDesc, columns> attributes{};
        for (PGresAttDesc& attribute : attributes) {
            attribute.name = name_.data();
            attribute.format = 1;
        }
        PQsetResultAttrs(result_, count, attributes.data());
    }
    Made& set(int row, int column, std::optional<std::string> value) {
        PQsetvalue(result_, row, column, value ? value->data() : nullptr,
                   value ? static_cast<int>(value->size()) : -1);
        return *this;
    }
    [[nodiscard]] Result take() { return Result(std::exchange(result_, nullptr)); }

private:
    std::string name_ = "column";
    PGresult* result_;
};

std::string big_endian(std::int32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
            static_cast<char>(value >> 8), static_cast<char>(value)};
}

// Two rows: "early" with its payload, "late" whose payload of five bytes is elsewhere.
Batch two_rows() {
    Made made(columns);
    for (int row = 0; row < 2; ++row) {
        made.set(row, row_column::topic, row == 0 ? "early" : "late")
            .set(row, row_column::key,
                 row == 0 ? std::optional(std::string("k\0y", 3)) : std::nullopt)
            .set(row, row_column::event_id, std::string(16, row == 0 ? 'a' : 'b'))
            .set(row, row_column::type, "")
            .set(row, row_column::headers,
                 row == 0 ? std::optional<std::string>("\x01{}") : std::nullopt)
            .set(row, row_column::payload,
                 row == 0 ? std::optional<std::string>("now") : std::nullopt)
            .set(row, row_column::payload_bytes, big_endian(row == 0 ? 3 : 5));
    }
    Batch batch(made.take());
    for (int row = 0; row < 2; ++row) {
        batch.rows.push_back({.batch = &batch,
                              .id = row + 7,
                              .created_at_us = 42,
                              .index = row,
                              .bucket = 3,
                              .state = Row::State::waiting,
                              .payload_elsewhere = row == 1});
    }
    batch.next = 1;
    return batch;
}

} // namespace

TEST(RowAlone, has_everything_that_is_sent_and_outlives_its_batch) {
    std::unique_ptr<Batch> alone;
    {
        const Batch batch = two_rows();
        alone = batch.row_alone(batch.rows[0]);
    }
    ASSERT_EQ(alone->rows.size(), 1U);
    const Row& row = alone->rows[0];
    EXPECT_EQ(row.batch, alone.get());
    EXPECT_EQ(row.id, 7);
    EXPECT_EQ(row.bucket, 3);
    EXPECT_EQ(alone->result.rows(), 1);
    EXPECT_EQ(alone->next, 0U);
    EXPECT_EQ(alone->unfinished, 1U);
    // Topic, key, headers with their version, payload.
    EXPECT_EQ(alone->bytes, 200U + 5 + 3 + 3 + 3);
    const RowView view = alone->view(row);
    EXPECT_EQ(view.topic, "early");
    EXPECT_EQ(view.key, std::string_view("k\0y", 3));
    EXPECT_EQ(view.event_id, std::string(16, 'a'));
    EXPECT_EQ(view.created_at_us, 42);
    EXPECT_EQ(view.headers_json, "{}");
    EXPECT_EQ(alone->payload(row), "now");
}

TEST(RowAlone, takes_a_payload_that_came_later_and_keeps_what_is_null) {
    std::unique_ptr<Batch> alone;
    {
        Batch batch = two_rows();
        Made payloads(2);
        payloads.set(0, 1, "other").set(1, 1, "later");
        batch.payloads.emplace(8, std::pair(std::make_shared<Result>(payloads.take()), 1));
        alone = batch.row_alone(batch.rows[1]);
    }
    const Row& row = alone->rows[0];
    EXPECT_TRUE(alone->has_payload(row));
    EXPECT_EQ(alone->payload(row), "later");
    EXPECT_EQ(alone->bytes, 200U + 4 + 5);
    EXPECT_EQ(alone->view(row).key, std::nullopt);
    EXPECT_EQ(alone->view(row).headers_json, std::nullopt);
}

} // namespace concordat::relay
