#pragma once

// What a run leaves behind for others to read: how often every kind of fault was injected, and, if
// somebody listens, one line per step of a transaction.
//
// A line has five fields between tabs: `<milliseconds> <xid> <actor> <event> <detail>`. The xid is
// "-" for what concerns no transaction (faults of the world, leadership). The actors, events and
// details are listed in docs/internals/simulator.md; tests/models checks them against the models.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace concordat::simulation {

enum class Fault : std::uint8_t {
    // network
    delay,
    loss,
    duplication,
    reordering,
    partition,
    one_way_partition,
    // nodes and their disks
    crash,
    kill,
    torn_write,
    power_cut,
    flipped_bit,
    truncated_file,
    disk_full,
    disk_error,
    slow_disk,
    pause,
    clock_jump,
    // the group
    voter_added,
    voter_removed,
    node_replaced,
    leadership_transfer,
    snapshot_installed,
    // participants and their databases
    participant_crash,
    participant_late,
    participant_refusal,
    participant_busy,
    replica_crash,
    replica_pause,
    database_crash,
    backend_killed,
    database_connection_lost,
    database_answer_lost,
    slow_statement,
    serialization_failure,
    deadlock,
    failed_statement,
    failure_ignored,
    no_room_for_prepared,
    database_clock_jump,
    // clients
    client_retry,
    client_other_node,
    client_abort,
    inquiry_to_follower,
    second_decider,
    xid_reused,
};
inline constexpr std::size_t fault_kinds = static_cast<std::size_t>(Fault::xid_reused) + 1;

[[nodiscard]] std::string_view name_of(Fault fault);

/// Injections by kind.
class FaultCounts {
public:
    void add(Fault fault) noexcept { ++counts_[static_cast<std::size_t>(fault)]; }
    [[nodiscard]] std::uint64_t of(Fault fault) const noexcept {
        return counts_[static_cast<std::size_t>(fault)];
    }
    FaultCounts& operator+=(const FaultCounts& other) noexcept;
    bool operator==(const FaultCounts&) const = default;

private:
    std::array<std::uint64_t, fault_kinds> counts_{};
};

/// Gets one line, without its end.
using TraceSink = std::function<void(std::string_view line)>;

} // namespace concordat::simulation
