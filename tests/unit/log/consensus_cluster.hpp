#pragma once

// A group of Consensus objects on modelled disks and a modelled network, in virtual time, from one
// seed. It fulfils obligations as the real node does, with faults in between, and checks after
// every apply that all nodes see one history.

#include "coordinator/log/consensus.hpp"

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace concordat::log::test {

struct ClusterFaults {
    double loss = 0;        ///< of a message
    double duplication = 0; ///< of a message
    Milliseconds max_delay = 15;
    Milliseconds max_disk_delay = 5;
    std::uint64_t snapshot_every = 300; ///< entries
    std::uint64_t trailing = 50;
};

struct ClusterFigures {
    std::uint64_t committed = 0;
    std::uint64_t crashes = 0;
    std::uint64_t messages = 0;
    std::uint64_t snapshots_taken = 0;
    std::uint64_t snapshots_installed = 0;
    std::uint64_t elections = 0;
};

/// Thrown when an invariant is broken.
class Violation : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

class ConsensusCluster {
public:
    ConsensusCluster(std::size_t size, std::uint64_t seed, ClusterFaults faults);

    void start(Peer id);
    void crash(Peer id);
    [[nodiscard]] bool is_up(Peer id) const { return node(id).up; }
    void cut(Peer from, Peer to, bool is_cut) { cuts_[{from, to}] = is_cut; }
    void heal();
    void set_faults(ClusterFaults faults) { faults_ = faults; }

    /// Runs events up to this time.
    void run_until(Milliseconds time);
    [[nodiscard]] Milliseconds now() const { return now_; }
    /// Submits at whatever node leads; false when none does.
    bool submit(const std::string& text);
    [[nodiscard]] Peer leader() const; ///< 0: none
    void transfer();
    [[nodiscard]] bool all_applied_the_same() const;
    /// One line per node, for a failure's message.
    [[nodiscard]] std::string describe() const;
    [[nodiscard]] const ClusterFigures& figures() const { return figures_; }
    [[nodiscard]] std::uint64_t trace_hash() const { return trace_hash_; }
    [[nodiscard]] std::size_t size() const { return nodes_.size(); }
    std::uint64_t random(std::uint64_t below) { return random_() % below; }

private:
    struct Disk { // what survives a crash
        HardState hard_state;
        std::optional<SnapshotMetadata> snapshot;
        std::uint64_t snapshot_hash = 0;
        std::vector<Entry> entries;
    };
    struct Write {
        enum class Kind { hard_state, entries, install, compact } kind = Kind::entries;
        HardState hard_state;
        Generation generation = 0;
        std::vector<Entry> entries;
        SnapshotMetadata snapshot;
        std::uint64_t snapshot_hash = 0;
        Index through = 0;
    };
    struct Node {
        Peer id = 0;
        bool up = false;
        std::uint64_t life = 0;
        Disk disk;
        std::deque<Write> writes; ///< in flight, in order
        std::size_t hard_states_in_flight = 0;
        std::deque<Message> held;
        std::unique_ptr<Consensus> engine;
        Index applied = 0;
        std::uint64_t hash = 0;
        Milliseconds timer = 0;
    };
    struct Event {
        Milliseconds time = 0;
        std::uint64_t sequence = 0;
        std::function<void()> action;
        bool operator<(const Event& other) const {
            return time != other.time ? time > other.time : sequence > other.sequence;
        }
    };

    Node& node(Peer id) { return nodes_[id - 1]; }
    [[nodiscard]] const Node& node(Peer id) const { return nodes_[id - 1]; }
    void at(Milliseconds time, std::function<void()> action);
    void fulfil(Node& node, Obligations&& obligations);
    void send(Node& node, Message message);
    void apply(Node& node, const std::vector<Entry>& entries);
    void write(Node& node, Write write);
    void finish_write(Node& node);
    static void put_on_disk(Disk& disk, const Write& write);
    void maybe_snapshot(Node& node);
    void arm_timer(Node& node);
    void trace(std::uint64_t value) { trace_hash_ = trace_hash_ * 1099511628211U + value; }

    ClusterFaults faults_;
    std::mt19937_64 random_;
    Milliseconds now_ = 0;
    std::uint64_t sequence_ = 0;
    std::priority_queue<Event> events_;
    std::vector<Node> nodes_;
    std::map<std::pair<Peer, Peer>, bool> cuts_;
    std::map<Index, Entry> history_;        ///< what was committed anywhere
    std::map<Index, std::uint64_t> hashes_; ///< of the state after an entry
    std::map<Term, std::set<Peer>> leaders_;
    ClusterFigures figures_;
    std::uint64_t trace_hash_ = 14695981039346656037U;
};

} // namespace concordat::log::test
