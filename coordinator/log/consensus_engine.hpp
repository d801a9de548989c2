#pragma once

// Consensus's view of libraft: the engine object and conversions to its types. Internal to the
// consensus_*.cpp files; nobody else includes it, so that raft.h stays behind one door.

#include "coordinator/core/assert.hpp"
#include "coordinator/log/consensus.hpp"

#include <limits>
#include <string>

// Last, so that it cannot touch any other header (see there).
#include "coordinator/log/raft_adapter.hpp"

namespace concordat::log {

/// Far from the end of the number range, so that sums of indexes cannot wrap around.
inline constexpr Index max_index = Index{1} << 62U;

// Versions of the messages that this engine speaks; the library's private constants.
inline constexpr unsigned char vote_version = 2;
inline constexpr unsigned char vote_result_version = 2;
inline constexpr unsigned char append_result_version = 2;

/// Memory that the core frees, or hands back to be freed.
inline void* engine_token() {
    void* token = raft_malloc(8);
    CONCORDAT_ASSERT(token != nullptr);
    return token;
}

inline raft_buffer view_of(const std::string& bytes) {
    // The core reads the content of configuration entries only and writes to none.
    return raft_buffer{const_cast<char*>(bytes.data()), bytes.size()};
}

/// A configuration that the receiver of the event will own.
inline raft_configuration engine_configuration(const std::string& bytes) {
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    const raft_buffer buffer = view_of(bytes);
    const int code = raft_configuration_decode(&buffer, &configuration);
    CONCORDAT_ASSERT(code == 0);
    return configuration;
}

inline raft_snapshot_metadata engine_metadata(const SnapshotMetadata& metadata) {
    raft_snapshot_metadata result{};
    result.index = metadata.index;
    result.term = metadata.term;
    result.configuration_index = metadata.configuration_index;
    result.configuration = engine_configuration(metadata.configuration);
    return result;
}

inline raft_entry engine_entry(const Entry& entry, void* batch) {
    raft_entry result{};
    result.term = entry.term;
    result.type = static_cast<raft_entry_type>(entry.type);
    result.buf = view_of(*entry.bytes);
    result.batch = batch;
    return result;
}

inline bool is_valid_metadata(const SnapshotMetadata& metadata) {
    return metadata.index > 0 && metadata.index < max_index && metadata.term > 0 &&
           metadata.configuration_index > 0 && metadata.configuration_index <= metadata.index &&
           decode_configuration(metadata.configuration).has_value();
}

struct Consensus::Engine {
    raft core{};
    raft_update update{};

    explicit Engine(const ConsensusOptions& options) {
        const std::string address = std::to_string(options.id);
        const int code = raft_init(&core, nullptr, nullptr, options.id, address.c_str());
        CONCORDAT_ASSERT(code == 0);
        core.tracer = nullptr;
        raft_seed(&core, options.seed);
        raft_set_pre_vote(&core, true);
        raft_set_election_timeout(&core, options.election_timeout_ms);
        raft_set_heartbeat_timeout(&core, options.heartbeat_ms);
        raft_set_install_snapshot_timeout(&core, options.install_snapshot_timeout_ms);
        raft_set_max_inflight_entries(&core, options.max_inflight_entries);
    }
    ~Engine() { raft_close(&core, nullptr); }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    int step(raft_event& event, Milliseconds now) {
        update = raft_update{};
        event.time = now;
        event.capacity = std::numeric_limits<unsigned short>::max();
        return raft_step(&core, &event, &update);
    }
    [[nodiscard]] bool has(unsigned flag) const { return (update.flags & flag) != 0; }
};

} // namespace concordat::log
