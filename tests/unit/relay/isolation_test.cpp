#include "participant-sdk/relay/isolation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace concordat::relay {
namespace {

// A broker that refuses every batch with a bad record in it; records go out in order, `limit` at a
// time. Returns the records found guilty, in order.
std::vector<std::int64_t> search(std::vector<std::int64_t> rows,
                                 const std::set<std::int64_t>& bad) {
    Isolation isolation;
    std::vector<std::int64_t> guilty;
    int rounds = 0;
    while (!rows.empty() && ++rounds < 10'000) {
        std::size_t size = rows.size();
        if (isolation.active()) {
            if (isolation.is_beyond(rows.front())) {
                isolation.finish();
            } else {
                size = 0;
                while (size < rows.size() && isolation.has_room(size)) {
                    ++size;
                }
            }
        }
        const std::vector<std::int64_t> batch(rows.begin(),
                                              rows.begin() + static_cast<std::ptrdiff_t>(size));
        const bool refused =
            std::ranges::any_of(batch, [&](std::int64_t id) { return bad.contains(id); });
        if (!refused) {
            rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(size));
            if (isolation.active()) {
                isolation.round_succeeded();
            }
        } else if (isolation.judge(batch) == Isolation::Verdict::culprit) {
            guilty.push_back(batch.front());
            rows.erase(rows.begin());
        }
    }
    return guilty;
}

TEST(Isolation, finds_exactly_the_bad_records_wherever_they_are) {
    // O4: nothing else may be blamed, whatever the position and the number.
    std::vector<std::int64_t> rows;
    for (std::int64_t id = 1; id <= 500; ++id) {
        rows.push_back(id);
    }
    for (const std::set<std::int64_t>& bad :
         {std::set<std::int64_t>{1}, {500}, {250}, {1, 2, 3}, {7, 8, 300, 499, 500}}) {
        EXPECT_EQ(search(rows, bad), std::vector<std::int64_t>(bad.begin(), bad.end()));
    }
}

TEST(Isolation, a_round_with_room_left_allows_no_larger_one) {
    // Rows may have to wait for others although there is room; then nothing is known about company.
    Isolation isolation;
    const std::vector<std::int64_t> suspects(16, 1);
    ASSERT_EQ(isolation.judge(suspects), Isolation::Verdict::narrow);
    ASSERT_EQ(isolation.limit(), 2U);
    EXPECT_TRUE(isolation.has_room(1));
    isolation.round_succeeded();
    EXPECT_EQ(isolation.limit(), 2U);
    EXPECT_FALSE(isolation.has_room(2));
    isolation.round_succeeded();
    EXPECT_EQ(isolation.limit(), 4U);
    isolation.round_succeeded();
    EXPECT_EQ(isolation.limit(), 4U);
}

TEST(Isolation, blames_nobody_when_a_producer_failed_without_a_bad_record) {
    // A dead connection is no reason to search.
    Isolation isolation;
    EXPECT_EQ(isolation.judge({}), Isolation::Verdict::nobody);
    EXPECT_FALSE(isolation.active());
}

TEST(Isolation, tells_that_only_company_was_refused) {
    // Every suspect was accepted alone: batches are too large, no record is.
    Isolation isolation;
    const std::vector<std::int64_t> suspects{1, 2, 3, 4};
    EXPECT_EQ(isolation.judge(suspects), Isolation::Verdict::narrow);
    EXPECT_TRUE(isolation.is_beyond(5));
    EXPECT_FALSE(isolation.finish());
}

} // namespace
} // namespace concordat::relay
