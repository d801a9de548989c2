#pragma once

// One simulated run of the whole: three coordinator nodes, participants, clients, and a network
// between them. First everything goes wrong that may go wrong; then the faults heal, and the run
// must come to rest with every promise kept. The ledger checks the invariants all along.

#include "tests/simulation/faults.hpp"
#include "tests/simulation/ledger.hpp"
#include "tests/simulation/node.hpp"
#include "tests/simulation/participant.hpp"
#include "tests/simulation/timeline.hpp"

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace concordat::simulation {

inline constexpr const char* participant_names[] = {"alpha", "beta", "gamma", "delta"};

struct Figures {
    std::uint64_t fingerprint = 0; ///< same seed, same fingerprint
    Milliseconds simulated = 0;
    std::size_t committed = 0;
    std::size_t aborted = 0;
    std::size_t crashes = 0;
    FaultCounts faults;
};

class World final : private NodeHost, private ParticipantHost {
public:
    /// With a sink, every step of the run is told to it.
    World(std::uint64_t seed, Bug bug, TraceSink sink = {});

    /// Throws Violation.
    Figures run();

private:
    static constexpr std::size_t node_count = 3;
    static constexpr Milliseconds fault_phase = 12'000;
    static constexpr Milliseconds longest_recovery = 90'000;

    /// A client's way through one transaction: submit until answered, then read it again.
    struct Order {
        core::BeginRequest begin;
        std::size_t reads_left = 0;
        bool told = false;
    };
    struct PendingRequest {
        std::string xid;   ///< of a client's order, or of an inquiry
        std::string asker; ///< participant that inquires; empty: a client
    };

    // NodeHost and ParticipantHost.
    Timeline& timeline() override { return timeline_; }
    const Weather& weather() const override { return weather_; }
    Bug bug() const override { return bug_; }
    Ledger& ledger() override { return ledger_; }
    void send(log::Message message) override;
    void call(log::Peer node, core::ParticipantCall call) override;
    void reply(log::Peer node, core::RequestToken token, core::Reply reply) override;
    void leads(log::Peer node, log::Term term) override { ledger_.leads(node, term); }
    void applied(const log::Entry& entry, const std::vector<core::Command>& commands) override;
    void inquire(const std::string& asker, const std::string& xid) override;
    void send(const std::string& to, std::function<void(Participant&)> action) override;

    void tell_applied(const core::Command& command);

    void bring_up();
    void register_participants();
    // Clients.
    void place_orders();
    void place_order();
    void submit(const std::string& xid);
    void read(const std::string& xid);
    void ask(log::Peer node, PendingRequest pending, core::ClientRequest request);
    void answered(const PendingRequest& pending, const core::Reply& reply);
    void answered_client(const std::string& xid, const core::Reply& reply);
    void try_again(const std::string& xid);
    // Faults.
    void make_trouble();
    void one_fault();
    void crash_node(log::Peer id);
    void crash_participant();
    void cut_somewhere();
    void change_weather();
    void heal();
    // Rest.
    [[nodiscard]] bool is_at_rest() const;
    [[nodiscard]] std::string describe() const;

    [[nodiscard]] Node& node(log::Peer id) { return *nodes_[id - 1]; }
    [[nodiscard]] log::Peer some_node() { return 1 + timeline_.pick(node_count); }
    [[nodiscard]] bool is_lost() { return timeline_.chance(weather_.loss_permille); }
    [[nodiscard]] Milliseconds delay() { return timeline_.between(1, weather_.max_delay); }

    Timeline timeline_;
    Bug bug_;
    Weather weather_;
    Ledger ledger_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::map<std::string, std::unique_ptr<Participant>> participants_;
    std::map<std::pair<log::Peer, log::Peer>, bool> cuts_;
    std::map<std::uint64_t, PendingRequest> pending_; ///< by token
    std::map<std::string, Order> orders_;             ///< by xid
    std::set<std::string> registered_;
    std::uint64_t last_token_ = 0;
    bool faults_on_ = true;
    std::size_t crashes_ = 0;
};

} // namespace concordat::simulation
