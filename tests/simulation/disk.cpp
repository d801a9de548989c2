#include "tests/simulation/disk.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

using log::DiskThread;
using Operation = log::test::MemoryFileSystem::Operation;

const log::FileSystem::Path directory = "data";
constexpr std::uint64_t segment_bytes = 16'384;
constexpr Milliseconds space_retry = 200;
constexpr Milliseconds idle_sync = 100;

} // namespace

Disk::Disk(Timeline& timeline, const Weather& weather, Bug bug, log::Peer node, DiskUser& user)
    : timeline_(timeline), weather_(weather), bug_(bug), node_(node), user_(user) {
    files_.lies = bug == Bug::disk_loses_what_it_confirmed;
}

log::StorageOptions Disk::options() const {
    return {directory, node_, "simulation", segment_bytes, 1 + timeline_.now()};
}

Milliseconds Disk::delay() const {
    return timeline_.between(1, weather_.max_disk_delay) + slowness_;
}

void Disk::later(Milliseconds wait, std::function<void()> action) {
    timeline_.after(wait, [this, life = life_, action = std::move(action)] {
        if (life != life_ || broken_) {
            return;
        }
        if (const Milliseconds until = user_.paused_until(); timeline_.now() < until) {
            later(until - timeline_.now(), action);
        } else {
            action();
        }
    });
}

// ---------------------------------------------------------------- life of the process

std::expected<log::Recovered, std::string> Disk::open(const log::FirstState& first) {
    ++life_;
    auto opened = log::Storage::open(files_, options(), first);
    if (!opened) {
        return std::unexpected(opened.error());
    }
    damaged_ = false; // harmless, and repaired
    check(opened->recovered);
    remember(opened->recovered);
    storage_ = std::move(opened->storage);
    return std::move(opened->recovered);
}

void Disk::close() {
    ++life_;
    for (const Job& job : jobs_) {
        if (const auto* append = std::get_if<DiskThread::Append>(&job)) {
            uncertain_from_ = std::min(uncertain_from_, append->entries.front().index);
        }
    }
    jobs_.clear();
    snapshots_.clear();
    working_ = false;
    storing_ = false;
    no_space_ = false;
    broken_ = false;
    files_.fault = {};
    storage_.reset();
}

void Disk::cut_power() {
    if (storage_ && !broken_ && working_ && timeline_.chance(700)) {
        // Some of the operation's steps are done, then nothing works any more.
        files_.fault = [left = timeline_.pick(7)](Operation, const auto&) mutable {
            return left == 0 ? EIO : (--left, 0);
        };
        static_cast<void>(perform());
    } else if (storage_ && !broken_ && storing_ && timeline_.chance(700)) {
        files_.fault = [left = timeline_.pick(4)](Operation, const auto&) mutable {
            return left == 0 ? EIO : (--left, 0);
        };
        const SnapshotJob& job = snapshots_.front();
        uncertain_from_ = job.patient ? 0 : uncertain_from_;
        static_cast<void>(storage_->store_snapshot(job.metadata, *job.data));
    }
    close();
    std::mt19937_64 random(timeline_.pick(UINT64_MAX));
    if (const std::size_t torn = files_.cut_power(random); torn > 0) {
        timeline_.inject(Fault::torn_write, "node" + std::to_string(node_));
    }
    mark_may_lag_ = true;
}

/// Nothing that was confirmed may be missing.
void Disk::check(const log::Recovered& recovered) const {
    const log::Index snapshot = recovered.snapshot ? recovered.snapshot->metadata.index : 0;
    const std::string who = "the disk of node " + std::to_string(node_) + " lost ";
    if (snapshot < snapshot_) {
        throw Violation(who + "a snapshot that it confirmed");
    }
    if (recovered.hard_state.term < hard_state_.term ||
        (recovered.hard_state.term == hard_state_.term && hard_state_.voted_for != 0 &&
         recovered.hard_state.voted_for != hard_state_.voted_for)) {
        throw Violation(who + "a vote that it confirmed");
    }
    const log::Index base = recovered.entries.empty() ? 0 : recovered.entries.front().index;
    for (const log::Entry& entry : entries_) {
        if (entry.index <= snapshot || entry.index >= uncertain_from_) {
            continue;
        }
        if (entry.index < base || entry.index - base >= recovered.entries.size() ||
            !(recovered.entries[entry.index - base] == entry)) {
            throw Violation(who + "entry " + std::to_string(entry.index) + ", which it confirmed");
        }
    }
}

void Disk::remember(const log::Recovered& recovered) {
    hard_state_ = recovered.hard_state;
    snapshot_ = recovered.snapshot ? recovered.snapshot->metadata.index : 0;
    entries_.assign(recovered.entries.begin(), recovered.entries.end());
    uncertain_from_ = UINT64_MAX;
}

// ---------------------------------------------------------------- log, term and vote

void Disk::add(Job job) {
    jobs_.push_back(std::move(job));
    if (!working_) {
        working_ = true;
        later(delay(), [this] { work(); });
    }
}

void Disk::work() {
    const auto done = perform();
    if (broken_) {
        return;
    }
    if (jobs_.empty()) {
        working_ = false;
        later(idle_sync, [this] { settle_mark(); });
    } else {
        later(no_space_ ? space_retry : delay(), [this] { work(); });
    }
    if (!done.empty()) {
        user_.disk_completed(done);
    }
}

std::vector<DiskThread::Completion> Disk::perform() {
    std::vector<DiskThread::Completion> done;
    while (!jobs_.empty() && !broken_) {
        if (std::holds_alternative<DiskThread::Append>(jobs_.front())) {
            append_front(done);
            if (no_space_) {
                break;
            }
            continue;
        }
        const log::IoResult<void> result = perform_one(jobs_.front());
        no_space_ = !result && result.error().is_no_space();
        if (no_space_) {
            break;
        }
        if (!result) {
            broke(result.error().message);
            break;
        }
        if (const auto* save = std::get_if<DiskThread::SaveHardState>(&jobs_.front())) {
            hard_state_ = save->state;
            done.emplace_back(DiskThread::HardStateSaved{});
        } else if (std::holds_alternative<DiskThread::RestartLog>(jobs_.front())) {
            entries_.clear(); // with what was still written to the old log
            uncertain_from_ = UINT64_MAX;
            done.emplace_back(DiskThread::LogRestarted{});
        }
        jobs_.pop_front();
    }
    return done;
}

log::IoResult<void> Disk::perform_one(const Job& job) {
    if (const auto* save = std::get_if<DiskThread::SaveHardState>(&job)) {
        log::HardState state = save->state;
        if (bug_ == Bug::term_and_vote_not_durable) {
            state.voted_for = 0;
        }
        return storage_->save_hard_state(state);
    }
    if (const auto* restart = std::get_if<DiskThread::RestartLog>(&job)) {
        return storage_->restart_log(restart->next);
    }
    return storage_->compact(std::get<DiskThread::Compact>(job).through);
}

/// Writes the appends at the front of the queue together.
void Disk::append_front(std::vector<DiskThread::Completion>& done) {
    std::vector<std::vector<log::Entry>> batches;
    for (Job& job : jobs_) {
        auto* next = std::get_if<DiskThread::Append>(&job);
        if (next == nullptr) {
            break;
        }
        batches.push_back(next->entries);
    }
    const log::AppendOutcome outcome = storage_->append(batches);
    for (std::size_t i = 0; i < outcome.batches; ++i) {
        const auto& written = std::get<DiskThread::Append>(jobs_.front());
        confirm(written.entries);
        done.emplace_back(DiskThread::Appended{written.generation, written.entries.back().index});
        jobs_.pop_front();
    }
    mark_may_lag_ = mark_may_lag_ && outcome.batches == 0;
    no_space_ = outcome.error && outcome.error->is_no_space();
    if (outcome.error && !no_space_) {
        broke(outcome.error->message);
    }
}

/// It cannot be known any more what is on the disk (C21).
void Disk::broke(const std::string& reason) {
    broken_ = true;
    user_.disk_failed(reason);
}

void Disk::confirm(const std::vector<log::Entry>& entries) {
    const log::Index first = entries.front().index;
    while (!entries_.empty() && entries_.back().index >= first) {
        entries_.pop_back();
    }
    entries_.insert(entries_.end(), entries.begin(), entries.end());
}

void Disk::settle_mark() {
    if (!working_ && storage_->is_mark_dirty()) {
        if (const auto flushed = storage_->flush_mark(); !flushed) {
            broke(flushed.error().message);
        }
    }
}

// ---------------------------------------------------------------- snapshots

void Disk::store_snapshot(log::SnapshotMetadata metadata, core::SharedBytes data, bool patient,
                          std::function<void(bool)> done) {
    snapshots_.push_back({std::move(metadata), std::move(data), patient, std::move(done)});
    if (!storing_) {
        storing_ = true;
        later(delay() * 2, [this] { work_on_snapshots(); });
    }
}

void Disk::work_on_snapshots() {
    const SnapshotJob& job = snapshots_.front();
    if (job.patient) {
        uncertain_from_ = 0; // it replaces the log, as soon as that is restarted
    }
    const auto stored = storage_->store_snapshot(job.metadata, *job.data);
    if (!stored && !stored.error().is_no_space()) {
        broke(stored.error().message);
        return;
    }
    if (!stored && job.patient) {
        later(space_retry, [this] { work_on_snapshots(); });
        return;
    }
    if (stored) {
        confirm_snapshot(job.metadata.index);
        if (job.patient) {
            entries_.clear();
        }
    }
    const SnapshotJob finished = std::move(snapshots_.front());
    snapshots_.pop_front();
    storing_ = !snapshots_.empty();
    if (storing_) {
        later(delay() * 2, [this] { work_on_snapshots(); });
    }
    finished.done(stored.has_value());
}

void Disk::confirm_snapshot(log::Index index) {
    snapshot_ = std::max(snapshot_, index);
    while (!entries_.empty() && entries_.front().index <= snapshot_) {
        entries_.pop_front();
    }
}

log::IoResult<log::Snapshot> Disk::read_snapshot(const log::SnapshotMetadata& metadata) {
    return log::read_snapshot(files_, directory / log::snapshot_name(metadata));
}

bool Disk::holds(const log::Entry& entry) const {
    if (entry.index <= snapshot_) {
        return true;
    }
    const log::Index base = entries_.empty() ? 0 : entries_.front().index;
    return entry.index >= base && entry.index - base < entries_.size() &&
           entries_[entry.index - base] == entry;
}

// ---------------------------------------------------------------- faults

void Disk::fail_next_write() {
    files_.fault = [failed = false](Operation operation, const auto&) mutable {
        const bool hit = !failed && (operation == Operation::write || operation == Operation::sync);
        failed = failed || hit;
        return hit ? EIO : 0;
    };
}

void Disk::fill() {
    files_.capacity = files_.used() + timeline_.pick(4'000);
}

void Disk::flip_a_bit() {
    const auto files = files_.contents();
    auto victim = files.begin();
    std::advance(victim, static_cast<std::ptrdiff_t>(timeline_.pick(files.size())));
    std::string content = victim->second;
    if (content.empty()) {
        return;
    }
    std::size_t position = timeline_.pick(content.size());
    if (const std::size_t used = content.find_first_not_of('\0', position);
        used != std::string::npos && timeline_.chance(800)) {
        position = used; // most of a segment is still empty
    }
    content[position] = static_cast<char>(content[position] ^ (1 << timeline_.pick(8)));
    damage(victim->first, std::move(content));
}

void Disk::truncate_a_file() {
    const auto files = files_.contents();
    auto victim = files.begin();
    std::advance(victim, static_cast<std::ptrdiff_t>(timeline_.pick(files.size())));
    std::string content = victim->second;
    if (!content.empty()) {
        content.resize(timeline_.pick(content.size()));
        damage(victim->first, std::move(content));
    }
}

void Disk::damage(const log::FileSystem::Path& path, std::string content) {
    const auto whole = files_.clone();
    const auto before = log::Storage::open(*whole, options(), {});
    const auto damaged = files_.clone();
    damaged->set_content(path, content);
    const auto after = log::Storage::open(*damaged, options(), {});
    if (before && after) {
        const log::Recovered& was = before->recovered;
        const log::Recovered& is = after->recovered;
        const bool same_snapshot =
            was.snapshot.has_value() == is.snapshot.has_value() &&
            (!was.snapshot || was.snapshot->metadata == is.snapshot->metadata);
        if (!same_snapshot || !(was.hard_state == is.hard_state) || was.entries != is.entries) {
            throw Violation("damage to " + path.string() + " was not noticed");
        }
    }
    files_.set_content(path, std::move(content));
    damaged_ = true;
}

} // namespace concordat::simulation
