#include "participant-sdk/relay/read_cursor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace concordat::relay {
namespace {

ReadCursor::Observation seen(const char* snapshot, std::uint64_t next, std::int64_t last_drawn,
                             std::int64_t highest_id, std::size_t rows) {
    ReadCursor::Observation out;
    out.snapshot = *Snapshot::parse(snapshot);
    out.snapshot.next = next;
    out.last_drawn = last_drawn;
    out.highest_id = highest_id;
    out.rows = rows;
    return out;
}

TEST(Snapshot, reads_the_servers_text_form) {
    // The three parts of pg_snapshot, with and without transactions in progress.
    const auto plain = Snapshot::parse("10:10:");
    ASSERT_TRUE(plain);
    EXPECT_TRUE(plain->in_progress.empty());
    const auto busy = Snapshot::parse("10:20:10,14");
    ASSERT_TRUE(busy);
    EXPECT_FALSE(busy->has_ended(10));
    EXPECT_TRUE(busy->has_ended(9));
    EXPECT_TRUE(busy->has_ended(11));
    EXPECT_FALSE(busy->has_ended(14));
    EXPECT_FALSE(busy->has_ended(20));
}

TEST(Snapshot, refuses_what_is_not_a_snapshot) {
    // A server that speaks another dialect must not be misread.
    for (const char* text : {"", "1", "1:2", "a:2:", "1:2:x", "1:2:3;4"}) {
        EXPECT_FALSE(Snapshot::parse(text)) << text;
    }
}

TEST(ReadCursor, asks_for_rows_of_a_transaction_that_ended_behind_the_position) {
    // The prepared transaction 7 drew id 3; ids up to 9 were published meanwhile.
    ReadCursor cursor(100, 1 << 20);
    EXPECT_FALSE(cursor.advance(seen("7:9:7", 9, 9, 9, 8)));
    EXPECT_EQ(cursor.position(), 9);
    EXPECT_EQ(cursor.floor(), 0);
    const auto late = cursor.advance(seen("9:9:", 9, 9, 0, 0));
    ASSERT_TRUE(late);
    EXPECT_EQ(late->transactions, std::vector<std::uint64_t>{7});
    EXPECT_LT(late->after, 3);
    EXPECT_EQ(late->upto, 9);
    EXPECT_EQ(cursor.floor(), 9);
}

TEST(ReadCursor, remembers_running_transactions_that_the_snapshot_does_not_list) {
    // xmax is one above the highest that has ended: 8 and 9 run and appear nowhere in the snapshot.
    ReadCursor cursor(100, 1 << 20);
    EXPECT_FALSE(cursor.advance(seen("8:8:", 10, 5, 5, 1)));
    const auto late = cursor.advance(seen("9:9:", 10, 5, 0, 0));
    ASSERT_TRUE(late);
    EXPECT_EQ(late->transactions, std::vector<std::uint64_t>{8});
}

TEST(ReadCursor, bounds_late_rows_by_where_it_was_when_the_transaction_began) {
    // A transaction that begins when the position is 50 cannot have drawn an id below.
    ReadCursor cursor(100, 1 << 20);
    EXPECT_FALSE(cursor.advance(seen("20:20:", 20, 50, 50, 50)));
    EXPECT_FALSE(cursor.advance(seen("20:22:20", 22, 60, 60, 9)));
    const auto late = cursor.advance(seen("22:22:", 22, 60, 0, 0));
    ASSERT_TRUE(late);
    EXPECT_EQ(late->after, 50);
}

TEST(ReadCursor, reads_again_after_a_rewind_and_never_skips_forward_by_it) {
    // Rows that were given up come again; a later id is no reason to move.
    ReadCursor cursor(100, 1 << 20);
    std::ignore = cursor.advance(seen("5:5:", 5, 80, 80, 80));
    cursor.rewind_to(30);
    EXPECT_EQ(cursor.window().after, 29);
    cursor.rewind_to(90);
    EXPECT_EQ(cursor.window().after, 29);
}

TEST(ReadCursor, skips_a_desert_of_ids_only_as_far_as_it_knows) {
    // After an empty window the index says where the next row is; ids drawn since the last snapshot
    // may belong to transactions that it does not list.
    ReadCursor cursor(100, 1 << 20);
    std::ignore = cursor.advance(seen("5:5:", 5, 1'000'000, 0, 0));
    std::ignore = cursor.advance(seen("5:5:", 5, 1'000'000, 0, 0));
    ASSERT_TRUE(cursor.wants_seek());
    cursor.skip_to(2'000'000);
    EXPECT_EQ(cursor.position(), 1'000'000);
}

TEST(ReadCursor, narrows_the_window_when_rows_are_large) {
    // The memory of a read is bounded by its window.
    ReadCursor cursor(1000, 10'000);
    auto big = seen("5:5:", 5, 900, 900, 900);
    big.bytes = 1'000'000;
    const auto before = cursor.window();
    std::ignore = cursor.advance(big);
    const auto after = cursor.window();
    EXPECT_LT(after.upto - after.after, before.upto - before.after);
}

TEST(ReadCursor, forgets_that_a_stretch_was_empty_when_it_goes_back) {
    // Rows of a large transaction were not there yet; a wide window would hold too many of them.
    ReadCursor cursor(100, 1 << 20);
    for (int turn = 0; turn < 4; ++turn) {
        std::ignore = cursor.advance(seen("5:6:5", 6, 1'000'000, 0, 0));
    }
    const auto wide = cursor.window();
    ASSERT_GT(wide.upto - wide.after, 100);
    cursor.rewind_to(1);
    EXPECT_EQ(cursor.window().upto, 100);
}

// A model of the server: transactions that take numbers, draw ids and end in any order.
class Server {
public:
    explicit Server(unsigned seed) : random_(seed) {}

    void step() {
        switch (pick(4)) {
        case 0:
            running_[next_++] = {};
            break;
        case 1:
        case 2:
            if (!running_.empty()) {
                any_running()->second.push_back(++last_drawn_);
            }
            break;
        default:
            if (!running_.empty()) {
                end(any_running(), pick(5) != 0);
            }
        }
    }
    void end_all() {
        while (!running_.empty()) {
            end(running_.begin(), true);
        }
    }
    // Who runs is gone; ids and numbers behind the last durable ones are given out again.
    void crash() {
        running_.clear();
        next_ = highest_ended_ + 1;
        last_drawn_ = visible_.empty() ? 0 : visible_.rbegin()->first;
    }
    [[nodiscard]] Snapshot snapshot() const {
        Snapshot out;
        out.xmax = highest_ended_ + 1;
        out.next = next_;
        out.xmin = out.xmax;
        for (const auto& [transaction, ids] : running_) {
            if (transaction < out.xmax) {
                out.in_progress.push_back(transaction);
                out.xmin = std::min(out.xmin, transaction);
            }
        }
        return out;
    }
    [[nodiscard]] std::int64_t last_drawn() const { return last_drawn_; }
    [[nodiscard]] const std::map<std::int64_t, std::uint64_t>& visible() const { return visible_; }

private:
    using Running = std::map<std::uint64_t, std::vector<std::int64_t>>;

    std::size_t pick(std::size_t sides) {
        return std::uniform_int_distribution<std::size_t>(0, sides - 1)(random_);
    }
    Running::iterator any_running() {
        return std::next(running_.begin(), static_cast<std::ptrdiff_t>(pick(running_.size())));
    }
    void end(Running::iterator which, bool commit) {
        for (const std::int64_t id : which->second) {
            if (commit) {
                visible_[id] = which->first;
            }
        }
        highest_ended_ = std::max(highest_ended_, which->first);
        running_.erase(which);
    }

    std::mt19937 random_;
    Running running_;
    std::map<std::int64_t, std::uint64_t> visible_;
    std::uint64_t next_ = 100;
    std::uint64_t highest_ended_ = 99;
    std::int64_t last_drawn_ = 0;
};

// One read as the engine makes it: the window, then the late rows, all with what is visible now.
void read_once(Server& server, ReadCursor& cursor, std::set<std::int64_t>& delivered) {
    const auto window = cursor.window();
    ReadCursor::Observation seen;
    seen.snapshot = server.snapshot();
    std::vector<std::int64_t> fresh;
    for (const auto& [id, transaction] : server.visible()) {
        if (id > window.after && id <= window.upto) {
            fresh.push_back(id);
            seen.highest_id = id;
        }
    }
    seen.rows = fresh.size();
    server.step(); // last_drawn is looked up a moment after the snapshot
    seen.last_drawn = server.last_drawn();
    if (const auto late = cursor.advance(seen)) {
        for (const auto& [id, transaction] : server.visible()) {
            if (id > late->after && id <= late->upto &&
                std::ranges::find(late->transactions, transaction) != late->transactions.end()) {
                delivered.insert(id);
            }
        }
    }
    delivered.insert(fresh.begin(), fresh.end());
}

// Two thousand random histories: every row that became visible is delivered without a sweep.
void miss_no_row(int turns_between_crashes) {
    for (unsigned seed = 0; seed < 2000; ++seed) {
        Server server(seed);
        ReadCursor cursor(16, 1 << 20);
        std::set<std::int64_t> delivered;
        for (int turn = 0; turn < 60; ++turn) {
            if (turn % turns_between_crashes == turns_between_crashes - 1) {
                server.crash();
                cursor.restart();
            }
            for (unsigned steps = 0; steps < seed % 7; ++steps) {
                server.step();
            }
            read_once(server, cursor, delivered);
            // Nothing visible at or below the floor may be missing.
            for (const auto& [id, transaction] : server.visible()) {
                if (id <= cursor.floor() && cursor.open_transactions() == 0) {
                    ASSERT_TRUE(delivered.contains(id)) << "seed " << seed << " id " << id;
                }
            }
        }
        server.end_all();
        for (int turn = 0; turn < 400 && delivered.size() < server.visible().size(); ++turn) {
            read_once(server, cursor, delivered);
        }
        ASSERT_EQ(delivered.size() >= server.visible().size(), true) << "seed " << seed;
        for (const auto& [id, transaction] : server.visible()) {
            ASSERT_TRUE(delivered.contains(id)) << "seed " << seed << " lost id " << id;
        }
    }
}

TEST(ReadCursor, misses_no_row_whatever_order_transactions_end_in) {
    miss_no_row(1000);
}

TEST(ReadCursor, misses_no_row_whose_id_was_drawn_before_a_crash_as_well) {
    miss_no_row(7);
}

} // namespace
} // namespace concordat::relay
