// Where the relay has read to, and what may still appear behind it.
//
// Ids are drawn before their transactions commit, so rows become visible out of id order; a
// prepared transaction may make a row visible hours after a million later ones. Reading "after the
// last id" would lose such rows, and publishing the later ones first would break the order of a key
// whose next writer waited for the prepared one.
//
// The cursor therefore keeps, beside the position, every transaction that was in progress when the
// position moved on. A row with an id behind the position that was not visible then was written by
// one of those: the outbox assigns the transaction number before it draws the id, so a transaction
// that starts later draws only higher ids. When one of them has ended, its rows are read before
// anything newer is handed on. This is exact; a periodic sweep of everything behind the position is
// still made for rows that were put there by other means (a restored dump).
//
// A crash of the database undoes what was not committed, and gives ids and transaction numbers out
// again. Nothing that was seen before it counts any more: restart().
//
// Threading: pure value, one owner. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace concordat::relay {

// pg_snapshot: every transaction below xmin and every one below xmax that is not listed has ended.
// xmax is one above the highest that has ended; those from there up to `next`, the next number to
// be given out, may be running and are not listed either.
struct Snapshot {
    std::uint64_t xmin = 0;
    std::uint64_t xmax = 0;
    std::uint64_t next = 0;                 // looked up after the snapshot was taken
    std::vector<std::uint64_t> in_progress; // ascending

    [[nodiscard]] bool has_ended(std::uint64_t transaction) const noexcept;
    [[nodiscard]] static std::optional<Snapshot> parse(std::string_view text);
};

class ReadCursor {
public:
    // Read rows with after < id <= upto.
    struct Window {
        std::int64_t after;
        std::int64_t upto;
    };
    // Read rows with after < id <= upto that these transactions wrote.
    struct LateRows {
        std::int64_t after;
        std::int64_t upto;
        std::vector<std::uint64_t> transactions;
    };
    // What the read of a window saw. `last_drawn` is the sequence's last id, looked up after the
    // snapshot was taken and never ahead of what was drawn; `highest_id` is 0 without rows.
    struct Observation {
        Snapshot snapshot;
        std::int64_t last_drawn = 0;
        std::int64_t highest_id = 0;
        std::size_t rows = 0;
        std::size_t bytes = 0;
    };

    // A window holds at most its span of rows, since ids are unique. `rows_wanted` is the span when
    // rows are dense; it shrinks so that a window holds about `bytes_wanted`.
    ReadCursor(std::int64_t rows_wanted, std::size_t bytes_wanted);

    [[nodiscard]] Window window() const noexcept { return {position_, position_ + span_}; }
    // Moves over the window that window() gave. The result, if any, must be read with a snapshot
    // that is not older, and handed on before the rows of the window. If it turns out to be too
    // much to read at once, rewind to its beginning and forget the window's rows: they come again.
    [[nodiscard]] std::optional<LateRows> advance(const Observation& seen);
    // Begins anew, as after construction: for a new connection to the database.
    void restart() noexcept;
    // Goes back so that `id` is read again; no effect if it lies ahead.
    void rewind_to(std::int64_t id) noexcept;
    // Skips a stretch that is known to hold no visible row at all below `id`.
    void skip_to(std::int64_t id) noexcept;
    // True after an empty window with more ids ahead: ask the index where the next row is.
    [[nodiscard]] bool wants_seek() const noexcept { return wants_seek_; }

    [[nodiscard]] std::int64_t position() const noexcept { return position_; }
    // Nothing can newly appear at or below this id.
    [[nodiscard]] std::int64_t floor() const noexcept;
    [[nodiscard]] std::size_t open_transactions() const noexcept { return open_.size(); }

private:
    [[nodiscard]] std::optional<LateRows> take_ended(const Snapshot& snapshot);
    [[nodiscard]] bool note_open(const Snapshot& snapshot);
    void adapt_span(const Observation& seen, bool more_ahead);

    std::int64_t rows_wanted_;
    std::size_t bytes_wanted_;
    std::int64_t span_;
    std::int64_t position_ = 0;
    std::int64_t last_drawn_before_ = 0; // known to be drawn before the next snapshot
    std::int64_t drawn_before_snapshot_ = 0;
    std::uint64_t previous_next_ = 0;
    std::int64_t previous_position_ = 0; // ids of transactions that start later are above it
    std::map<std::uint64_t, std::int64_t> open_; // transaction → its ids are above this one
    bool wants_seek_ = false;
};

} // namespace concordat::relay
