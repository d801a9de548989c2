#include "participant-sdk/relay/read_cursor.hpp"

#include <algorithm>
#include <charconv>

namespace concordat::relay {
namespace {

constexpr std::int64_t smallest_span = 16;
constexpr std::int64_t largest_span_factor = 16;
// More transactions at once than any server has connections; savepoints take numbers as well.
constexpr std::uint64_t open_limit = 200'000;

bool take_number(std::string_view& text, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{}) {
        return false;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool take_character(std::string_view& text, char wanted) {
    if (!text.starts_with(wanted)) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

} // namespace

bool Snapshot::has_ended(std::uint64_t transaction) const noexcept {
    if (transaction < xmin) {
        return true;
    }
    return transaction < xmax && !std::ranges::binary_search(in_progress, transaction);
}

std::optional<Snapshot> Snapshot::parse(std::string_view text) {
    Snapshot snapshot;
    if (!take_number(text, snapshot.xmin) || !take_character(text, ':') ||
        !take_number(text, snapshot.xmax) || !take_character(text, ':')) {
        return std::nullopt;
    }
    while (!text.empty()) {
        std::uint64_t transaction = 0;
        if (!take_number(text, transaction)) {
            return std::nullopt;
        }
        snapshot.in_progress.push_back(transaction);
        if (!text.empty() && !take_character(text, ',')) {
            return std::nullopt;
        }
    }
    std::ranges::sort(snapshot.in_progress);
    return snapshot;
}

ReadCursor::ReadCursor(std::int64_t rows_wanted, std::size_t bytes_wanted)
    : rows_wanted_(std::max(rows_wanted, smallest_span)),
      bytes_wanted_(bytes_wanted),
      span_(rows_wanted_) {}

std::optional<ReadCursor::LateRows> ReadCursor::take_ended(const Snapshot& snapshot) {
    LateRows late{.after = position_, .upto = position_, .transactions = {}};
    for (auto entry = open_.begin(); entry != open_.end();) {
        if (!snapshot.has_ended(entry->first)) {
            ++entry;
            continue;
        }
        if (entry->second < position_) {
            late.after = std::min(late.after, entry->second);
            late.transactions.push_back(entry->first);
        }
        entry = open_.erase(entry);
    }
    if (late.transactions.empty()) {
        return std::nullopt;
    }
    return late;
}

// Remembers every transaction that may still write behind the position. False: too many.
bool ReadCursor::note_open(const Snapshot& snapshot) {
    if (snapshot.next > snapshot.xmax + open_limit) {
        return false;
    }
    const auto note = [this](std::uint64_t transaction) {
        // One that had not begun at the previous snapshot draws ids above where we were then.
        const std::int64_t above = transaction >= previous_next_ ? previous_position_ : 0;
        open_.try_emplace(transaction, above);
    };
    for (const std::uint64_t transaction : snapshot.in_progress) {
        note(transaction);
    }
    for (std::uint64_t transaction = snapshot.xmax; transaction < snapshot.next; ++transaction) {
        note(transaction);
    }
    return true;
}

void ReadCursor::adapt_span(const Observation& seen, bool more_ahead) {
    if (seen.bytes > bytes_wanted_ || seen.rows > static_cast<std::size_t>(rows_wanted_)) {
        span_ = std::max(smallest_span, span_ / 2);
    } else if (more_ahead && seen.bytes <= bytes_wanted_ / 2 &&
               seen.rows <= static_cast<std::size_t>(rows_wanted_) / 2) {
        span_ = std::min(span_ * 2, rows_wanted_ * largest_span_factor);
    }
}

std::optional<ReadCursor::LateRows> ReadCursor::advance(const Observation& seen) {
    std::optional<LateRows> late = take_ended(seen.snapshot);
    if (!note_open(seen.snapshot)) {
        // Stay: the same rows are read again, with fewer transactions in sight.
        return late;
    }
    const std::int64_t end = position_ + span_;
    const bool more_ahead = last_drawn_before_ > end;
    wants_seek_ = more_ahead && seen.rows == 0;
    // Ids up to here were drawn before the snapshot; the part beyond may be drawn by transactions
    // that the snapshot does not list, and is left for the next window.
    const std::int64_t drawn_before = std::min(end, last_drawn_before_);
    position_ = std::max({position_, seen.highest_id, drawn_before});
    adapt_span(seen, more_ahead);

    previous_next_ = seen.snapshot.next;
    previous_position_ = position_;
    drawn_before_snapshot_ = last_drawn_before_;
    last_drawn_before_ = std::max(last_drawn_before_, seen.last_drawn);
    return late;
}

void ReadCursor::restart() noexcept {
    position_ = 0;
    last_drawn_before_ = 0;
    drawn_before_snapshot_ = 0;
    previous_next_ = 0;
    previous_position_ = 0;
    open_.clear();
    wants_seek_ = false;
}

void ReadCursor::rewind_to(std::int64_t id) noexcept {
    position_ = std::min(position_, id - 1);
    span_ = std::min(span_, rows_wanted_); // what was empty then may be full now
    wants_seek_ = false;
}

void ReadCursor::skip_to(std::int64_t id) noexcept {
    // No further than what was drawn before the latest snapshot: ids beyond may belong to
    // transactions that it does not list and that have ended since.
    position_ = std::max(position_, std::min(id - 1, drawn_before_snapshot_));
    wants_seek_ = false;
}

std::int64_t ReadCursor::floor() const noexcept {
    std::int64_t lowest = position_;
    for (const auto& [transaction, above] : open_) {
        lowest = std::min(lowest, above);
    }
    return lowest;
}

} // namespace concordat::relay
