#include "coordinator/log/storage.hpp"
#include "tests/unit/log/memory_file_system.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

namespace concordat::log::test {
namespace {

const FileSystem::Path directory = "/data";

core::SharedBytes bytes_of(std::string text) {
    return std::make_shared<const std::string>(std::move(text));
}

StorageOptions small_options() {
    return {directory, 1, "test", 600, 0x1234'5678'9abcU};
}

FirstState first_state() {
    return {{1, 0}, {{1, 1, EntryType::configuration, bytes_of("members")}}};
}

std::expected<Storage::Opened, std::string> open(FileSystem& files) {
    return Storage::open(files, small_options(), first_state());
}

std::vector<Entry> batch(Index first, std::size_t count, Term term, std::string_view tag = "x") {
    std::vector<Entry> entries;
    for (std::size_t i = 0; i < count; ++i) {
        entries.push_back({first + i, term, EntryType::command,
                           bytes_of(fmt::format("{} {} of term {}", tag, first + i, term))});
    }
    return entries;
}

bool append(Storage& storage, const std::vector<Entry>& entries) {
    const std::vector<std::vector<Entry>> batches{entries};
    const AppendOutcome outcome = storage.append(batches);
    return outcome.batches == 1 && !outcome.error;
}

SnapshotMetadata snapshot_at(Index index, Term term) {
    return {index, term, 1, "members"};
}

TEST(Storage, recovers_what_was_appended_across_segments) {
    // Many small segments join to one log, truncations included.
    MemoryFileSystem files;
    {
        auto opened = open(files);
        ASSERT_TRUE(opened) << opened.error();
        EXPECT_TRUE(opened->recovered.created);
        for (Index index = 2; index < 40; index += 2) {
            ASSERT_TRUE(append(*opened->storage, batch(index, 2, 1)));
        }
        ASSERT_TRUE(append(*opened->storage, batch(30, 1, 2))); // voids 31 and later
        ASSERT_TRUE(opened->storage->save_hard_state({3, 2}));
    }
    auto opened = open(files);
    ASSERT_TRUE(opened) << opened.error();
    EXPECT_FALSE(opened->recovered.created);
    EXPECT_EQ(opened->recovered.hard_state, (HardState{3, 2}));
    ASSERT_EQ(opened->recovered.entries.size(), 30U);
    EXPECT_EQ(opened->recovered.entries.back(), batch(30, 1, 2).front());
    EXPECT_EQ(opened->recovered.entries[28], batch(29, 1, 1).front());
    EXPECT_GT(files.contents().size(), 6U);
}

TEST(Storage, drops_what_a_snapshot_covers_and_starts_from_it) {
    // Compaction removes whole segments; the rest still joins the snapshot.
    MemoryFileSystem files;
    {
        auto opened = open(files);
        ASSERT_TRUE(opened) << opened.error();
        for (Index index = 2; index < 40; ++index) {
            ASSERT_TRUE(append(*opened->storage, batch(index, 1, 1)));
        }
        const std::size_t before = files.contents().size();
        ASSERT_TRUE(opened->storage->store_snapshot(snapshot_at(30, 1), "state"));
        ASSERT_TRUE(opened->storage->compact(25));
        EXPECT_LT(files.contents().size(), before);
    }
    auto opened = open(files);
    ASSERT_TRUE(opened) << opened.error();
    ASSERT_TRUE(opened->recovered.snapshot);
    EXPECT_EQ(*opened->recovered.snapshot->data, "state");
    EXPECT_LE(opened->recovered.entries.front().index, 26U);
    EXPECT_GT(opened->recovered.entries.front().index, 2U);
    EXPECT_EQ(opened->recovered.entries.back().index, 39U);
}

TEST(Storage, opens_a_log_whose_oldest_segment_starts_with_a_truncation) {
    // Found by power cuts: the voided entries went with the segment before it.
    MemoryFileSystem files;
    {
        auto opened = open(files);
        ASSERT_TRUE(opened) << opened.error();
        Storage& storage = *opened->storage;
        Index last = 1;
        const std::size_t before = files.contents().size();
        while (files.contents().size() == before) { // the last append opens the second segment
            ASSERT_TRUE(append(storage, batch(last, 2, 1)));
            ++last;
        }
        ASSERT_TRUE(storage.store_snapshot(snapshot_at(last, 1), "state"));
        ASSERT_TRUE(storage.compact(last));
    }
    auto opened = open(files);
    ASSERT_TRUE(opened) << opened.error();
}

TEST(Storage, replaces_the_log_by_a_received_snapshot) {
    // Also when the process ends between storing the snapshot and dropping the old log.
    for (const bool interrupted : {false, true}) {
        MemoryFileSystem files;
        {
            auto opened = open(files);
            ASSERT_TRUE(opened) << opened.error();
            ASSERT_TRUE(append(*opened->storage, batch(2, 8, 1)));
            ASSERT_TRUE(opened->storage->save_hard_state({4, 0}));
            ASSERT_TRUE(opened->storage->store_snapshot(snapshot_at(50, 4), "state"));
            if (!interrupted) {
                ASSERT_TRUE(opened->storage->restart_log(51));
                ASSERT_TRUE(append(*opened->storage, batch(51, 2, 4)));
            }
        }
        auto opened = open(files);
        ASSERT_TRUE(opened) << opened.error();
        EXPECT_EQ(opened->recovered.entries.size(), interrupted ? 0U : 2U);
        ASSERT_TRUE(append(*opened->storage, batch(interrupted ? 51 : 53, 1, 4)));
    }
}

TEST(Storage, refuses_the_directory_of_another_node_or_cluster) {
    // A node pointed at the wrong volume must not vote with another one's promises.
    MemoryFileSystem files;
    ASSERT_TRUE(open(files));
    StorageOptions other_node = small_options();
    other_node.node = 2;
    EXPECT_FALSE(Storage::open(files, other_node, first_state()));
    StorageOptions other_cluster = small_options();
    other_cluster.cluster_name = "other";
    EXPECT_FALSE(Storage::open(files, other_cluster, first_state()));
    EXPECT_TRUE(open(files));
}

TEST(Storage, refuses_a_directory_that_is_in_use) {
    // Two processes on one directory would interleave their promises.
    MemoryFileSystem files;
    const auto first = open(files);
    ASSERT_TRUE(first);
    EXPECT_FALSE(open(files));
}

TEST(Storage, waits_for_space_without_losing_or_tearing_anything) {
    // Without space nothing of a batch is written, and it succeeds later (C20).
    MemoryFileSystem files;
    auto opened = open(files);
    ASSERT_TRUE(opened) << opened.error();
    files.capacity = 0;
    Index next = 2;
    std::vector<std::vector<Entry>> batches{batch(next, 1, 1)};
    AppendOutcome outcome;
    while (!(outcome = opened->storage->append(batches)).error) {
        batches = {batch(++next, 1, 1)};
    }
    EXPECT_TRUE(outcome.error->is_no_space());
    EXPECT_EQ(outcome.batches, 0U);
    EXPECT_TRUE(opened->storage->append(batches).error) << "still no space";
    files.capacity = UINT64_MAX;
    EXPECT_FALSE(opened->storage->append(batches).error);
    opened = std::unexpected("closed");
    opened = open(files);
    ASSERT_TRUE(opened) << opened.error();
    EXPECT_EQ(opened->recovered.entries.back(), batches.front().front());
}

TEST(Storage, reports_failed_writes_and_syncs) {
    // The disk thread ends the process on these, so they must never be swallowed (C21).
    using Operation = MemoryFileSystem::Operation;
    for (const Operation failing : {Operation::write, Operation::sync}) {
        MemoryFileSystem files;
        auto opened = open(files);
        ASSERT_TRUE(opened) << opened.error();
        files.fault = [&](Operation operation, const FileSystem::Path&) {
            return operation == failing ? EIO : 0;
        };
        const std::vector<std::vector<Entry>> batches{batch(2, 1, 1)};
        const AppendOutcome outcome = opened->storage->append(batches);
        ASSERT_TRUE(outcome.error);
        EXPECT_FALSE(outcome.error->is_no_space());
        EXPECT_EQ(outcome.batches, 0U);
        EXPECT_FALSE(opened->storage->save_hard_state({2, 1}));
        EXPECT_FALSE(opened->storage->store_snapshot(snapshot_at(1, 1), "state"));
    }
}

/// What the model of the test knows to be promised.
struct Promised {
    HardState hard_state{1, 0};
    Index last = 1;
    std::vector<Entry> entries = first_state().entries; ///< all ever, by index - 1
    Index snapshot = 0;
};

/// Random work until a random file operation fails; then the power is cut.
void work(Storage& storage, Promised& promised, std::mt19937_64& random) {
    Term term = promised.hard_state.term;
    while (true) {
        switch (random() % 8) {
        case 0: {
            const HardState next{++term, random() % 3};
            if (!storage.save_hard_state(next)) {
                return;
            }
            promised.hard_state = next;
            break;
        }
        case 1:
            if (promised.last > promised.snapshot + 5) {
                const Index index = promised.last - random() % 3;
                const Term at = promised.entries[index - 1].term;
                if (!storage.store_snapshot(snapshot_at(index, at), fmt::format("{}", index))) {
                    return;
                }
                promised.snapshot = index;
                if (!storage.compact(index - std::min<Index>(index, 4))) {
                    return;
                }
            }
            break;
        default: {
            const bool truncates = random() % 6 == 0 && promised.last > promised.snapshot + 2;
            const Index first = truncates ? promised.last : promised.last + 1;
            const Term at = promised.hard_state.term;
            const auto entries = batch(first, 1 + random() % 4, at, truncates ? "new" : "x");
            if (!append(storage, entries)) {
                return;
            }
            promised.entries.resize(first - 1);
            promised.entries.insert(promised.entries.end(), entries.begin(), entries.end());
            promised.last = entries.back().index;
            break;
        }
        }
    }
}

void check(const Recovered& recovered, const Promised& promised) {
    ASSERT_GE(recovered.hard_state.term, promised.hard_state.term);
    if (recovered.hard_state.term == promised.hard_state.term) {
        ASSERT_EQ(recovered.hard_state, promised.hard_state);
    }
    const Index snapshot = recovered.snapshot ? recovered.snapshot->metadata.index : 0;
    ASSERT_GE(snapshot, promised.snapshot);
    const Index last = recovered.entries.empty() ? snapshot : recovered.entries.back().index;
    // A truncating append in flight may have voided the end of what was promised, but only by
    // putting something newer in its place.
    if (last < promised.last) {
        ASSERT_EQ(last, promised.last) << "entries that were acknowledged are missing";
    }
    for (const Entry& entry : recovered.entries) {
        if (entry.index < promised.last) {
            ASSERT_EQ(entry, promised.entries[entry.index - 1]);
        }
    }
}

TEST(Storage, keeps_every_promise_through_power_cuts) {
    // The power goes at every kind of moment; what was acknowledged is there afterwards (C19).
    std::size_t cuts = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        SCOPED_TRACE(fmt::format("seed {}", seed));
        std::mt19937_64 random{seed};
        MemoryFileSystem files;
        Promised promised;
        for (int life = 0; life < 4; ++life) {
            auto opened = open(files);
            ASSERT_TRUE(opened) << opened.error();
            if (life > 0) {
                check(opened->recovered, promised);
                if (HasFatalFailure()) {
                    return;
                }
            }
            // What was found counts from now on, acknowledged or not.
            promised.hard_state = opened->recovered.hard_state;
            promised.snapshot =
                opened->recovered.snapshot ? opened->recovered.snapshot->metadata.index : 0;
            for (const Entry& entry : opened->recovered.entries) {
                promised.entries.resize(entry.index - 1);
                promised.entries.push_back(entry);
            }
            promised.last = promised.entries.size();
            std::uint64_t left = random() % 200;
            files.fault = [left](MemoryFileSystem::Operation, const FileSystem::Path&) mutable {
                return left-- == 0 ? EIO : 0;
            };
            work(*opened->storage, promised, random);
            opened = std::unexpected("power cut");
            files.cut_power(random);
            ++cuts;
        }
    }
    EXPECT_EQ(cuts, 1200U);
}

// ---------------------------------------------------------------- corruption

/// A small directory with every kind of file, and what it promises.
std::unique_ptr<MemoryFileSystem> make_sample(Recovered& promised) {
    auto files = std::make_unique<MemoryFileSystem>();
    {
        auto opened = open(*files);
        EXPECT_TRUE(opened);
        Storage& storage = *opened->storage;
        for (Index index = 2; index < 20; ++index) {
            EXPECT_TRUE(append(storage, batch(index, 1, 1)));
        }
        EXPECT_TRUE(storage.save_hard_state({2, 3}));
        EXPECT_TRUE(append(storage, batch(19, 2, 2)));
        EXPECT_TRUE(storage.store_snapshot(snapshot_at(12, 1), "the state"));
        EXPECT_TRUE(storage.compact(8));
        EXPECT_TRUE(storage.remember_peers({{2, 77}, {3, 78}}));
        EXPECT_TRUE(append(storage, batch(21, 1, 2)));
    }
    auto opened = open(*files);
    EXPECT_TRUE(opened);
    promised = std::move(opened->recovered);
    return files;
}

/// True when the directory was refused or everything promised is there.
bool detected_or_harmless(MemoryFileSystem& files, const Recovered& promised, bool& detected) {
    const auto opened = open(files);
    detected = !opened;
    if (!opened) {
        return opened.error().size() > 20;
    }
    const Recovered& found = opened->recovered;
    return found.hard_state == promised.hard_state && !found.created && found.snapshot &&
           *found.snapshot->data == *promised.snapshot->data &&
           found.snapshot->metadata == promised.snapshot->metadata &&
           found.entries == promised.entries &&
           opened->storage->known_peers() == (KnownPeers{{2, 77}, {3, 78}});
}

TEST(Storage, opens_after_a_kill_that_a_power_cut_follows) {
    // Found by simulation: the killed process left one slot of the durable mark unsynced, the next
    // one wrote the other slot, and the power took both.
    for (unsigned seed = 1; seed <= 200; ++seed) {
        MemoryFileSystem files;
        std::mt19937_64 random(seed);
        for (Index index = 2; index <= 3; ++index) {
            auto opened = open(files);
            ASSERT_TRUE(opened) << opened.error();
            ASSERT_TRUE(append(*opened->storage, batch(index, 1, 1)));
        } // killed: nothing is flushed
        files.cut_power(random);
        const auto opened = open(files);
        ASSERT_TRUE(opened) << "seed " << seed << ": " << opened.error();
        EXPECT_EQ(opened->recovered.entries.size(), 3U);
    }
}

TEST(StorageCorruption, is_detected_or_harmless_for_every_flipped_byte) {
    // Every byte of every file, with one bit and with all bits flipped (C22).
    Recovered promised;
    const auto sample = make_sample(promised);
    std::size_t cases = 0;
    std::size_t refused = 0;
    for (const auto& [path, content] : sample->contents()) {
        for (std::size_t position = 0; position < content.size(); ++position) {
            // The unused space of the slot files is the same everywhere; a sample of it will do.
            if (content.size() == SlotFile::file_bytes && position % 4096 > 100 &&
                position % 61 != 0) {
                continue;
            }
            for (const int mask : {0x01, 0xff}) {
                const auto files = sample->clone();
                std::string damaged = content;
                damaged[position] = static_cast<char>(damaged[position] ^ mask);
                files->set_content(path, damaged);
                bool detected = false;
                ASSERT_TRUE(detected_or_harmless(*files, promised, detected))
                    << path << " at byte " << position << " mask " << mask;
                ++cases;
                refused += detected ? 1 : 0;
            }
        }
    }
    EXPECT_GT(cases, 4000U);
    EXPECT_GT(refused, cases / 4);
    fmt::print("{} flips, {} refused, the rest harmless\n", cases, refused);
}

TEST(StorageCorruption, is_detected_or_harmless_for_every_truncated_length) {
    // Every length of every file, and the file's absence (C22).
    Recovered promised;
    const auto sample = make_sample(promised);
    std::size_t cases = 0;
    std::size_t refused = 0;
    for (const auto& [path, content] : sample->contents()) {
        for (std::size_t length = 0; length < content.size(); ++length) {
            if (content.size() == SlotFile::file_bytes && length % 61 != 0) {
                continue;
            }
            const auto files = sample->clone();
            files->set_content(path, content.substr(0, length));
            bool detected = false;
            ASSERT_TRUE(detected_or_harmless(*files, promised, detected))
                << path << " cut to " << length;
            ++cases;
            refused += detected ? 1 : 0;
        }
        const auto files = sample->clone();
        files->erase(path);
        bool detected = false;
        ASSERT_TRUE(detected_or_harmless(*files, promised, detected)) << path << " removed";
        EXPECT_TRUE(detected) << path << " removed";
        ++cases;
    }
    EXPECT_GT(refused, cases / 2);
    fmt::print("{} truncations, {} refused, the rest harmless\n", cases, refused);
}

TEST(StorageCorruption, is_detected_when_the_end_of_a_segment_is_zeroed) {
    // A zeroed tail looks like unused space; only the durable mark tells (high-water mark).
    Recovered promised;
    const auto sample = make_sample(promised);
    for (const auto& [path, content] : sample->contents()) {
        if (path.extension() != ".segment") {
            continue;
        }
        for (std::size_t start = 0; start < content.size(); start += 8) {
            const auto files = sample->clone();
            files->set_content(path,
                               content.substr(0, start) + std::string(content.size() - start, 0));
            bool detected = false;
            ASSERT_TRUE(detected_or_harmless(*files, promised, detected))
                << path << " zeroed from " << start;
        }
    }
}

TEST(StorageCorruption, cuts_a_torn_batch_that_was_never_acknowledged) {
    // A crash in the middle of a write is no corruption: the batch is dropped with a note.
    Recovered promised;
    const auto sample = make_sample(promised);
    FileSystem::Path last;
    for (const auto& [path, content] : sample->contents()) {
        last = path.extension() == ".segment" ? path : last;
    }
    const std::string content = sample->contents()[last];
    const std::size_t end = content.find_last_not_of('\0') + 1;
    const std::size_t record = (end + 7) / 8 * 8;
    const auto files = sample->clone();
    std::string torn = content;
    torn.replace(record, 20, "CCRD half of a record"); // a header that is not whole
    files->set_content(last, torn);
    const auto opened = open(*files);
    ASSERT_TRUE(opened) << opened.error();
    EXPECT_EQ(opened->recovered.entries, promised.entries);
    EXPECT_EQ(opened->recovered.notes.size(), 1U);
}

} // namespace
} // namespace concordat::log::test
