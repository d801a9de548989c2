// Trap 15: the behaviour of libraft that Consensus relies on, pinned on the bare library, so that
// another version of it is judged in minutes. A failure here means: read the library's change notes
// and consensus_*.cpp before updating.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

// Last, so that it cannot touch any other header (see there).
#include "coordinator/log/raft_adapter.hpp"

namespace concordat::log::test {
namespace {

/// The bare library with one event at a time.
class Core {
public:
    explicit Core(unsigned voters) {
        EXPECT_EQ(raft_init(&raft, nullptr, nullptr, 1, "1"), 0);
        raft.tracer = nullptr;
        raft_seed(&raft, 7);
        raft_set_election_timeout(&raft, 150);
        raft_set_heartbeat_timeout(&raft, 15);
        raft_configuration configuration;
        raft_configuration_init(&configuration);
        for (unsigned id = 1; id <= voters; ++id) {
            EXPECT_EQ(
                raft_configuration_add(&configuration, id, std::to_string(id).c_str(), RAFT_VOTER),
                0);
        }
        raft_buffer bytes{};
        EXPECT_EQ(raft_configuration_encode(&configuration, &bytes), 0);
        raft_configuration_close(&configuration);
        void* batch = raft_malloc(8);
        raft_entry entry{1, RAFT_CHANGE, bytes, batch};
        raft_event event{};
        event.type = RAFT_START;
        event.start.term = 1;
        event.start.start_index = 1;
        event.start.entries = &entry;
        event.start.n_entries = 1;
        EXPECT_EQ(step(event), 0);
        raft_free(batch); // stays with the caller when start succeeds
        raft_free(bytes.base);
    }
    ~Core() { raft_close(&raft, nullptr); }

    int step(raft_event& event) {
        event.time = time;
        update = raft_update{};
        return raft_step(&raft, &event, &update);
    }
    int append(raft_term term, raft_index previous, raft_term previous_term,
               std::vector<raft_entry> entries, raft_index commit) {
        raft_message message{};
        message.type = RAFT_APPEND_ENTRIES;
        message.server_id = 2;
        message.server_address = "2";
        message.append_entries.term = term;
        message.append_entries.prev_log_index = previous;
        message.append_entries.prev_log_term = previous_term;
        message.append_entries.leader_commit = commit;
        held = std::move(entries);
        message.append_entries.entries = held.data();
        message.append_entries.n_entries = static_cast<unsigned>(held.size());
        raft_event event{};
        event.type = RAFT_RECEIVE;
        event.receive.message = &message;
        return step(event);
    }
    [[nodiscard]] bool has(unsigned flag) const { return (update.flags & flag) != 0; }

    struct raft raft{};
    raft_update update{};
    raft_time time = 1;
    std::vector<raft_entry> held;
};

raft_entry entry_of(raft_term term, void* batch) {
    static char content[8] = "entry";
    return {term, RAFT_COMMAND, {content, sizeof content}, batch};
}

TEST(LibraftConformance, is_the_version_that_was_examined) {
    // Anything but 0.22 has another event interface until proven otherwise.
    EXPECT_EQ(RAFT_VERSION_MAJOR, 0);
    EXPECT_EQ(RAFT_VERSION_MINOR, 22);
}

TEST(LibraftConformance, hands_the_batch_back_when_it_takes_entries) {
    // Then the batch is ours to free, and the entries are those of our own array.
    Core core{3};
    void* batch = raft_malloc(8);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, batch), entry_of(2, batch)}, 0), 0);
    ASSERT_TRUE(core.has(RAFT_UPDATE_ENTRIES));
    EXPECT_EQ(core.update.entries.index, 2U);
    ASSERT_EQ(core.update.entries.n, 2U);
    EXPECT_EQ(core.update.entries.batch, core.held.data());
    EXPECT_EQ(core.update.entries.batch[0].batch, batch);
    raft_free(batch);
}

TEST(LibraftConformance, frees_the_batch_when_it_refuses_or_knows_the_entries) {
    // A second free here, or none, would show under the address sanitizer.
    Core core{3};
    void* batch = raft_malloc(8);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, batch)}, 0), 0);
    raft_free(core.update.entries.batch[0].batch);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, raft_malloc(8))}, 0), 0); // known
    EXPECT_FALSE(core.has(RAFT_UPDATE_ENTRIES));
    ASSERT_EQ(core.append(2, 7, 2, {entry_of(2, raft_malloc(8))}, 0), 0); // gap
    EXPECT_FALSE(core.has(RAFT_UPDATE_ENTRIES));
    ASSERT_EQ(core.append(1, 1, 1, {entry_of(1, raft_malloc(8))}, 0), 0); // old term
    EXPECT_FALSE(core.has(RAFT_UPDATE_ENTRIES));
}

TEST(LibraftConformance, leaves_submitted_buffers_alone) {
    // Neither content nor batch of a submitted entry is read or freed.
    Core core{1};
    ASSERT_EQ(raft_state(&core.raft), RAFT_LEADER);
    char content[8] = "ours";
    raft_entry entry{raft_current_term(&core.raft), RAFT_COMMAND, {content, 8}, content};
    raft_event event{};
    event.type = RAFT_SUBMIT;
    event.submit.entries = &entry;
    event.submit.n = 1;
    ASSERT_EQ(core.step(event), 0);
    ASSERT_TRUE(core.has(RAFT_UPDATE_ENTRIES));
    EXPECT_EQ(core.update.entries.batch[0].buf.base, content);
    EXPECT_FALSE(core.has(RAFT_UPDATE_COMMIT_INDEX)) << "not before it is durable";
    raft_event persisted{};
    persisted.type = RAFT_PERSISTED_ENTRIES;
    persisted.persisted_entries.index = 2;
    ASSERT_EQ(core.step(persisted), 0);
    EXPECT_EQ(raft_commit_index(&core.raft), 2U);
}

TEST(LibraftConformance, leads_alone_without_a_new_term) {
    // Trap 9 as a fact.
    Core core{1};
    EXPECT_EQ(raft_state(&core.raft), RAFT_LEADER);
    EXPECT_EQ(raft_current_term(&core.raft), 1U);
}

TEST(LibraftConformance, becomes_no_candidate_while_writes_are_in_flight) {
    // Why a completion never meets a candidate.
    Core core{3};
    void* batch = raft_malloc(8);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, batch)}, 0), 0);
    raft_free(batch);
    raft_event timeout{};
    timeout.type = RAFT_TIMEOUT;
    core.time = raft_timeout(&core.raft) + 1000;
    ASSERT_EQ(core.step(timeout), 0);
    EXPECT_EQ(raft_state(&core.raft), RAFT_FOLLOWER);
}

TEST(LibraftConformance, takes_the_commit_index_back_on_an_old_message) {
    // A fault that Consensus works around; when it is gone, so may the work-around.
    Core core{3};
    void* batch = raft_malloc(8);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, batch), entry_of(2, batch)}, 3), 0);
    raft_free(batch);
    ASSERT_EQ(raft_commit_index(&core.raft), 3U);
    ASSERT_EQ(core.append(2, 1, 1, {entry_of(2, raft_malloc(8))}, 9), 0);
    EXPECT_EQ(raft_commit_index(&core.raft), 2U);
}

} // namespace
} // namespace concordat::log::test
