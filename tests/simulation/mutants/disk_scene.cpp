// One data directory through several lives: random work until the power goes at a random file
// operation, recovery, comparison with what was promised; at last one file is damaged, and the
// directory must be refused or be complete.

#include "coordinator/log/storage.hpp"
#include "tests/simulation/mutants/scenes.hpp"
#include "tests/unit/log/memory_file_system.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <stdexcept>

namespace concordat::mutants {
namespace {

using log::Entry;
using log::FileSystem;
using log::Index;
using log::Recovered;
using log::Storage;
using log::test::MemoryFileSystem;

constexpr int lives = 6;

[[noreturn]] void violate(const std::string& text) {
    throw std::runtime_error(text);
}

log::FirstState first_state() {
    return {{1, 0},
            {{1, 1, log::EntryType::configuration, std::make_shared<const std::string>("all")}}};
}

log::SnapshotMetadata snapshot_at(Index index, log::Term term) {
    return {index, term, 1, "all"};
}

std::string state_at(Index index) {
    return fmt::format("the state after {}", index);
}

class Directory {
public:
    explicit Directory(std::uint64_t seed) : random_(seed) {}

    void live_and_lose_power() {
        open("C19");
        std::uint64_t left = 1 + random_() % 120;
        files_.fault = [left](MemoryFileSystem::Operation, const FileSystem::Path&) mutable {
            left -= left == 0 ? 0 : 1;
            return left == 0 ? EIO : 0; // and nothing works any more
        };
        while (work_once()) {
        }
        storage_.reset();
        files_.fault = nullptr;
        files_.cut_power(random_);
    }

    /// The last life ends in peace; then a file is damaged.
    void damage_and_look() {
        open("C19");
        for (int i = 0; i < 12; ++i) {
            static_cast<void>(work_once());
        }
        storage_.reset();
        open("C19");
        storage_.reset();
        for (int i = 0; i < 40; ++i) {
            damage_once();
        }
    }

private:
    std::expected<Storage::Opened, std::string> open_now(MemoryFileSystem& files) {
        return Storage::open(files, {"/data", 1, "scene", 700, 0x1234'5678'9abcU}, first_state());
    }

    void open(const std::string& rule) {
        auto opened = open_now(files_);
        if (!opened) {
            violate(rule + ": an undamaged directory is refused: " + opened.error());
        }
        const Recovered& found = opened->recovered;
        compare(found, rule);
        hard_state_ = found.hard_state;
        snapshot_ = found.snapshot ? found.snapshot->metadata.index : 0;
        for (const Entry& entry : found.entries) {
            entries_.resize(std::max<std::size_t>(entries_.size(), entry.index));
            entries_[entry.index - 1] = entry;
        }
        last_ = found.entries.empty() ? snapshot_ : found.entries.back().index;
        storage_ = std::move(opened->storage);
    }

    void compare(const Recovered& found, const std::string& rule) const {
        const bool newer = found.hard_state == hard_state_in_flight_;
        if (!(found.hard_state == hard_state_) && !newer) {
            violate(fmt::format("{}: term and vote {}/{} instead of {}/{}", rule,
                                found.hard_state.term, found.hard_state.voted_for, hard_state_.term,
                                hard_state_.voted_for));
        }
        const Index snapshot = found.snapshot ? found.snapshot->metadata.index : 0;
        if (snapshot < snapshot_) {
            violate(fmt::format("{}: snapshot {} instead of {}", rule, snapshot, snapshot_));
        }
        if (found.snapshot && *found.snapshot->data != state_at(snapshot)) {
            violate(rule + ": a snapshot with another content");
        }
        Index previous = found.entries.empty() ? 0 : found.entries.front().index - 1;
        if (previous > snapshot) {
            violate(rule + ": entries after the snapshot are missing");
        }
        for (const Entry& entry : found.entries) {
            if (entry.index != ++previous) {
                violate(rule + ": an entry has another index than its place");
            }
            check_entry(entry, rule);
        }
        const Index last = found.entries.empty() ? snapshot : found.entries.back().index;
        // A write in flight may void the end of what was promised, by something newer in its place.
        const bool voided = !found.entries.empty() && found.entries.back() == in_flight_.back();
        if (last < last_ && !voided) {
            violate(fmt::format("{}: acknowledged entries {} to {} are missing", rule, last + 1,
                                last_));
        }
    }

    void check_entry(const Entry& entry, const std::string& rule) const {
        const auto is_same = [&](const Entry& other) { return other == entry; };
        const bool acknowledged =
            entry.index <= entries_.size() && is_same(entries_[entry.index - 1]);
        if (!acknowledged && std::ranges::none_of(in_flight_, is_same)) {
            violate(fmt::format("{}: entry {} is not what was written", rule, entry.index));
        }
    }

    /// False when the power goes.
    bool work_once() {
        switch (random_() % 10) {
        case 0:
        case 1:
            return vote();
        case 2:
            return take_snapshot();
        case 3:
            return random_() % 4 != 0 || install_snapshot();
        default:
            return append();
        }
    }

    bool vote() {
        hard_state_in_flight_ = {hard_state_.term + random_() % 2, 1 + random_() % 3};
        if (!storage_->save_hard_state(hard_state_in_flight_)) {
            return false;
        }
        hard_state_ = hard_state_in_flight_;
        return random_() % 2 == 0 || storage_->flush_mark().has_value();
    }

    bool append() {
        const bool truncates = random_() % 5 == 0 && last_ > snapshot_ + 3;
        const Index first = truncates ? last_ - random_() % 3 : last_ + 1;
        in_flight_.clear();
        for (Index index = first; index < first + 1 + random_() % 4; ++index) {
            in_flight_.push_back(
                {index, hard_state_.term, log::EntryType::command,
                 std::make_shared<const std::string>(fmt::format("command {} ", ++commands_) +
                                                     std::string(random_() % 60, 'x'))});
        }
        const std::vector<std::vector<Entry>> batches{in_flight_};
        const log::AppendOutcome outcome = storage_->append(batches);
        if (outcome.error || outcome.batches != 1) {
            return false;
        }
        entries_.resize(first - 1);
        entries_.insert(entries_.end(), in_flight_.begin(), in_flight_.end());
        last_ = entries_.size();
        return true;
    }

    bool take_snapshot() {
        if (last_ < snapshot_ + 4) {
            return true;
        }
        const Index index = last_ - random_() % 3;
        const log::Term term = entries_[index - 1].term;
        if (!storage_->store_snapshot(snapshot_at(index, term), state_at(index))) {
            return false;
        }
        snapshot_ = index;
        return storage_->compact(index - random_() % 4).has_value();
    }

    /// What a leader sent replaces everything.
    bool install_snapshot() {
        const Index index = last_ + 1 + random_() % 10;
        if (!storage_->store_snapshot(snapshot_at(index, hard_state_.term), state_at(index))) {
            return false;
        }
        snapshot_ = index;
        last_ = index;
        entries_.clear();
        entries_.resize(index);
        return storage_->restart_log(index + 1).has_value();
    }

    void damage_once() {
        const auto copy = files_.clone();
        const auto contents = copy->contents();
        auto victim = contents.begin();
        std::advance(victim, static_cast<std::ptrdiff_t>(random_() % contents.size()));
        const auto& [path, content] = *victim;
        if (content.empty()) {
            return;
        }
        // What stands at the beginning matters most; the rest of a slot file is unused.
        const std::size_t end = std::max<std::size_t>(content.find_last_not_of('\0') + 1, 1);
        const std::size_t place = random_() % end;
        std::string damaged = content;
        const auto kind = random_() % 4;
        if (kind == 0) {
            damaged[place] = static_cast<char>(damaged[place] ^ (1 << (random_() % 8)));
        } else if (kind == 1) {
            damaged.resize(place);
        } else if (kind == 2) {
            std::fill(damaged.begin() + static_cast<std::ptrdiff_t>(place), damaged.end(), '\0');
        }
        if (damaged == content && kind != 3) {
            return;
        }
        if (kind == 3) {
            copy->erase(path);
        } else {
            copy->set_content(path, damaged);
        }
        if (const auto opened = open_now(*copy)) {
            compare(opened->recovered, "C22");
            if (opened->recovered.created) {
                violate("C22: a damaged directory was taken for a new one");
            }
        }
    }

    std::mt19937_64 random_;
    MemoryFileSystem files_;
    std::unique_ptr<Storage> storage_;
    // What is promised.
    log::HardState hard_state_ = first_state().hard_state;
    Index snapshot_ = 0;
    Index last_ = 1;
    std::vector<Entry> entries_ = first_state().entries; ///< by index - 1
    // What was being written when the power went: may be there.
    log::HardState hard_state_in_flight_ = hard_state_;
    std::vector<Entry> in_flight_ = entries_;
    std::uint64_t commands_ = 0;
};

} // namespace

void run_disk(std::uint64_t seed) {
    Directory directory{seed};
    for (int life = 0; life < lives; ++life) {
        directory.live_and_lose_power();
    }
    directory.damage_and_look();
}

} // namespace concordat::mutants
