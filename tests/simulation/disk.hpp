#pragma once

// One node's disk: the real storage (segments, slot files, snapshots) over files in memory, worked
// on in virtual time as concordatd's disk thread and snapshot thread do it: everything that waits
// is written together, completions come in order, missing space is waited for, any other error ends
// the process.
//
// It knows what it has confirmed and checks it whenever the files are opened again.

#include "coordinator/log/disk_thread.hpp"
#include "coordinator/log/storage.hpp"
#include "tests/simulation/faults.hpp"
#include "tests/simulation/timeline.hpp"
#include "tests/unit/log/memory_file_system.hpp"

#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::simulation {

/// The process that uses the disk.
class DiskUser {
public:
    virtual ~DiskUser() = default;
    virtual void disk_completed(const std::vector<log::DiskThread::Completion>& done) = 0;
    /// The process must end: it cannot know any more what is on the disk.
    virtual void disk_failed(const std::string& reason) = 0;
    /// A paused process pauses with all its threads.
    [[nodiscard]] virtual Milliseconds paused_until() const = 0;
};

class Disk {
public:
    using Job = log::DiskThread::Job;

    Disk(Timeline& timeline, const Weather& weather, Bug bug, log::Peer node, DiskUser& user);

    // Life of the process.

    /// The error is the node's refusal to run with these files.
    [[nodiscard]] std::expected<log::Recovered, std::string> open(const log::FirstState& first);
    /// The process is killed: what it gave to the operating system stays.
    void close();
    /// The machine loses its power: what was not synced may be lost or torn. Often in the middle
    /// of an operation. Closes.
    void cut_power();

    // Work; the process lives.

    void add(Job job);
    /// Durable when `done(true)` is called; `done(false)`: no space. With `patient` space is waited
    /// for instead.
    void store_snapshot(log::SnapshotMetadata metadata, core::SharedBytes data, bool patient,
                        std::function<void(bool)> done);
    [[nodiscard]] log::IoResult<log::Snapshot> read_snapshot(const log::SnapshotMetadata& metadata);
    [[nodiscard]] bool no_space() const noexcept { return no_space_; }

    // Faults.

    /// The next write or sync fails.
    void fail_next_write();
    void fill();
    void free_space() { files_.capacity = UINT64_MAX; }
    [[nodiscard]] bool is_full() const noexcept { return files_.capacity != UINT64_MAX; }
    void set_slowness(Milliseconds delay) noexcept { slowness_ = delay; }
    /// Files are damaged only while the process does not run and the durable mark is current.
    [[nodiscard]] bool can_be_damaged() const noexcept { return !storage_ && !mark_may_lag_; }
    /// One bit flips, or a file ends too early. Throws Violation when opening would neither refuse
    /// the damage nor find everything.
    void flip_a_bit();
    void truncate_a_file();

    [[nodiscard]] bool is_damaged() const noexcept { return damaged_; }

    /// Has it confirmed this entry, or a snapshot that includes it?
    [[nodiscard]] bool holds(const log::Entry& entry) const;

private:
    struct SnapshotJob {
        log::SnapshotMetadata metadata;
        core::SharedBytes data;
        bool patient = false;
        std::function<void(bool)> done;
    };
    using Files = log::test::MemoryFileSystem;

    [[nodiscard]] log::StorageOptions options() const;
    [[nodiscard]] Milliseconds delay() const;
    void later(Milliseconds wait, std::function<void()> action);
    void work();
    [[nodiscard]] std::vector<log::DiskThread::Completion> perform();
    void append_front(std::vector<log::DiskThread::Completion>& done);
    [[nodiscard]] log::IoResult<void> perform_one(const Job& job);
    void work_on_snapshots();
    void settle_mark();
    void broke(const std::string& reason);
    void confirm(const std::vector<log::Entry>& entries);
    void confirm_snapshot(log::Index index);
    void check(const log::Recovered& recovered) const;
    void remember(const log::Recovered& recovered);
    void damage(const log::FileSystem::Path& path, std::string content);

    Timeline& timeline_;
    const Weather& weather_;
    Bug bug_;
    log::Peer node_;
    DiskUser& user_;
    Files files_;
    std::unique_ptr<log::Storage> storage_;
    std::uint64_t life_ = 0;

    std::deque<Job> jobs_; ///< the first `taken_` are being worked on
    bool working_ = false;
    bool no_space_ = false;
    std::deque<SnapshotJob> snapshots_;
    bool storing_ = false;
    Milliseconds slowness_ = 0;
    bool mark_may_lag_ = false;
    bool damaged_ = false;
    bool broken_ = false; ///< an operation failed: the process must end, and does nothing more

    // What was confirmed.
    log::HardState hard_state_;
    log::Index snapshot_ = 0;
    std::deque<log::Entry> entries_; ///< behind the snapshot
    /// Entries from here on may be replaced or dropped by an operation that was under way.
    log::Index uncertain_from_ = UINT64_MAX;
};

} // namespace concordat::simulation
