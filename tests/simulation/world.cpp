#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

constexpr const char* participant_names[] = {"alpha", "beta", "gamma", "delta"};
constexpr Milliseconds client_patience = 3'000;

} // namespace

World::World(std::uint64_t seed, Bug bug)
    : timeline_(seed), bug_(bug), ledger_([this](const log::Entry& entry) {
          const auto holders = std::ranges::count_if(
              nodes_, [&](const auto& one) { return one->has_on_disk(entry); });
          return static_cast<std::size_t>(holders) > node_count / 2;
      }) {
    std::vector<log::VotingMember> members;
    for (log::Peer id = 1; id <= node_count; ++id) {
        members.push_back({id, "node" + std::to_string(id)});
    }
    for (log::Peer id = 1; id <= node_count; ++id) {
        nodes_.push_back(std::make_unique<Node>(static_cast<NodeHost&>(*this), id,
                                                log::bootstrap_state(members)));
    }
    for (const char* name : participant_names) {
        participants_.emplace(
            name, std::make_unique<Participant>(static_cast<ParticipantHost&>(*this), name));
    }
}

Figures World::run() {
    bring_up();
    place_orders();
    make_trouble();
    timeline_.run_until(timeline_.now() + fault_phase);
    heal();
    const Milliseconds deadline = timeline_.now() + longest_recovery;
    while (!is_at_rest()) {
        if (timeline_.now() >= deadline) {
            throw Violation("I5: not at rest long after the faults have healed" + describe());
        }
        timeline_.run_until(timeline_.now() + 250);
    }
    std::map<std::string, std::int64_t> balances;
    for (const auto& [name, participant] : participants_) {
        balances[name] = participant->balance();
    }
    ledger_.audit(balances);
    return {.fingerprint = timeline_.fingerprint(),
            .simulated = timeline_.now(),
            .committed = ledger_.committed(),
            .aborted = ledger_.aborted(),
            .crashes = crashes_};
}

void World::bring_up() {
    for (auto& one : nodes_) {
        one->start();
    }
    const Milliseconds deadline = timeline_.now() + longest_recovery;
    while (registered_.size() < std::size(participant_names)) {
        if (timeline_.now() >= deadline) {
            throw Violation("the group does not take work" + describe());
        }
        register_participants();
        timeline_.run_until(timeline_.now() + 200);
    }
}

void World::register_participants() {
    for (const char* name : participant_names) {
        for (log::Peer id = 1; id <= node_count; ++id) {
            if (!registered_.contains(name) && node(id).is_serving()) {
                ask(id, {name, "registration"},
                    core::PutParticipantRequest{
                        core::ParticipantName{name},
                        {"http://" + std::string{name}, "", std::chrono::seconds{1}, 8},
                        "simulation"});
            }
        }
    }
}

// ---------------------------------------------------------------- network

void World::send(log::Message message) {
    if (cuts_[{message.from, message.to}] || is_lost()) {
        return;
    }
    const int copies = timeline_.chance(weather_.duplication_permille) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        timeline_.after(delay(), [this, message] { node(message.to).receive(message); });
    }
}

void World::call(log::Peer from, core::ParticipantCall call) {
    const auto life = node(from).life();
    const auto answer = [this, from, life](Milliseconds wait, core::CallResult result) {
        timeline_.after(wait, [this, from, life, result = std::move(result)] {
            if (node(from).life() == life) {
                node(from).call_result(result);
            }
        });
    };
    const auto timeout = static_cast<Milliseconds>(
        std::chrono::ceil<std::chrono::milliseconds>(call.timeout).count());
    if (is_lost()) {
        answer(timeout, {call.key, core::CallResult::Unknown{"lost"}});
        return;
    }
    if (timeline_.chance(weather_.duplication_permille)) { // e.g. a proxy that tries again
        timeline_.after(delay() * 3, [this, call] {
            Participant& participant = *participants_.at(call.participant.value());
            if (participant.is_up()) {
                static_cast<void>(participant.serve(call));
            }
        });
    }
    timeline_.after(delay(), [this, call = std::move(call), answer, timeout] {
        Participant& participant = *participants_.at(call.participant.value());
        if (!participant.is_up()) {
            answer(delay(), {call.key, core::CallResult::Unknown{"connection refused"}});
        } else if (faults_on_ && timeline_.chance(20)) {
            answer(delay(), {call.key, core::CallResult::Later{std::chrono::milliseconds{20}}});
        } else {
            core::CallResult result = participant.serve(call);
            if (is_lost()) {
                answer(timeout, {call.key, core::CallResult::Unknown{"answer lost"}});
            } else {
                answer(delay(), std::move(result));
            }
        }
    });
}

void World::send(const std::string& to, std::function<void(Participant&)> action) {
    if (is_lost()) {
        return;
    }
    timeline_.after(delay(), [this, to, action = std::move(action)] {
        Participant& participant = *participants_.at(to);
        if (participant.is_up()) {
            action(participant);
        }
    });
}

void World::applied(const log::Entry& entry, const std::vector<core::Command>& commands) {
    ledger_.applied(entry, commands);
}

// ---------------------------------------------------------------- clients and inquiries

void World::ask(log::Peer id, PendingRequest pending, core::ClientRequest request) {
    const std::uint64_t token = ++last_token_;
    const bool is_client = pending.asker.empty();
    const std::string xid = pending.xid;
    pending_.emplace(token, std::move(pending));
    if (!is_lost()) {
        timeline_.after(delay(), [this, id, token, request = std::move(request)] {
            node(id).request(core::RequestToken{token}, request);
        });
    }
    timeline_.after(client_patience, [this, token, xid, is_client] {
        if (pending_.erase(token) > 0 && is_client) {
            try_again(xid);
        }
    });
}

void World::reply(log::Peer, core::RequestToken token, core::Reply reply) {
    // What is told counts from the moment at which it leaves, even if nobody hears it.
    if (const auto* transaction = std::get_if<core::TransactionReply>(&reply);
        transaction != nullptr && transaction->view.outcome) {
        ledger_.told(transaction->view.xid.value(), *transaction->view.outcome);
    } else if (const auto* inquiry = std::get_if<core::InquiryReply>(&reply);
               inquiry != nullptr && inquiry->outcome) {
        ledger_.told(inquiry->xid.value(), *inquiry->outcome);
    }
    if (is_lost()) {
        return;
    }
    timeline_.after(delay(), [this, token, reply = std::move(reply)] {
        const auto found = pending_.find(token.value());
        if (found != pending_.end()) {
            const PendingRequest pending = found->second;
            pending_.erase(found);
            answered(pending, reply);
        }
    });
}

void World::answered(const PendingRequest& pending, const core::Reply& reply) {
    if (pending.asker == "registration") {
        if (std::holds_alternative<core::Acknowledged>(reply)) {
            registered_.insert(pending.xid);
        }
        return;
    }
    if (pending.asker.empty()) {
        answered_client(pending.xid, reply);
        return;
    }
    const auto* inquiry = std::get_if<core::InquiryReply>(&reply);
    Participant& participant = *participants_.at(pending.asker);
    if (inquiry != nullptr && inquiry->outcome && participant.is_up()) {
        participant.learn_outcome(pending.xid, *inquiry->outcome);
    }
}

void World::answered_client(const std::string& xid, const core::Reply& reply) {
    Order& order = orders_.at(xid);
    const auto* transaction = std::get_if<core::TransactionReply>(&reply);
    if (transaction == nullptr || !transaction->view.outcome) {
        try_again(xid);
        return;
    }
    order.told = true;
    if (order.reads_left > 0) {
        --order.reads_left;
        timeline_.after(timeline_.between(10, 2'000), [this, xid] { read(xid); });
    }
}

void World::try_again(const std::string& xid) {
    timeline_.after(timeline_.between(20, 300), [this, xid] {
        if (orders_.at(xid).told) {
            read(xid);
        } else {
            submit(xid);
        }
    });
}

void World::inquire(const std::string& asker, const std::string& xid) {
    ask(some_node(), {xid, asker}, core::InquiryRequest{core::Xid{xid}});
}

void World::place_orders() {
    place_order();
    timeline_.after(timeline_.between(20, 200), [this] {
        if (faults_on_) {
            place_orders();
        }
    });
}

void World::place_order() {
    const std::string xid = "t" + std::to_string(orders_.size() + 1);
    Order order;
    order.reads_left = timeline_.pick(3);
    order.begin.xid = core::Xid{xid};
    order.begin.digest = xid;
    order.begin.protocol =
        timeline_.chance(500) ? core::Protocol::three_phase : core::Protocol::two_phase;
    order.begin.timeout = std::chrono::milliseconds{timeline_.between(500, 8'000)};
    order.begin.wait_for = static_cast<core::WaitFor>(timeline_.pick(3));
    std::vector<std::string> names(std::begin(participant_names), std::end(participant_names));
    for (std::size_t i = names.size() - 1; i > 0; --i) {
        std::swap(names[i], names[timeline_.pick(i + 1)]);
    }
    names.resize(1 + timeline_.pick(names.size()));
    // Money moves: what one loses, another gets; some only look.
    std::map<std::string, std::int64_t> amounts;
    std::int64_t rest = 0;
    for (const std::string& name : names) {
        const bool only_looks = timeline_.chance(150);
        amounts[name] = only_looks ? 0 : 1 + static_cast<std::int64_t>(timeline_.pick(50));
        rest -= amounts[name];
    }
    amounts[names.front()] += rest;
    for (const std::string& name : names) {
        order.begin.branches.push_back(
            {core::ParticipantName{name},
             std::make_shared<const std::string>(std::to_string(amounts[name])), std::nullopt});
    }
    ledger_.planned(xid, amounts);
    orders_.emplace(xid, std::move(order));
    submit(xid);
}

void World::submit(const std::string& xid) {
    ask(some_node(), {xid, {}}, orders_.at(xid).begin);
}

void World::read(const std::string& xid) {
    ask(some_node(), {xid, {}},
        core::GetRequest{core::Xid{xid}, false, std::nullopt, std::nullopt});
}

// ---------------------------------------------------------------- faults

void World::make_trouble() {
    timeline_.after(timeline_.between(100, 1'200), [this] {
        if (faults_on_) {
            one_fault();
            make_trouble();
        }
    });
}

void World::one_fault() {
    switch (timeline_.pick(8)) {
    case 0:
    case 1:
        crash_node(some_node());
        return;
    case 2: // power cut
        for (log::Peer id = 1; id <= node_count; ++id) {
            crash_node(id);
        }
        return;
    case 3:
        crash_participant();
        return;
    case 4:
    case 5:
        cut_somewhere();
        return;
    case 6:
        node(some_node()).pause(timeline_.between(100, 3'000));
        return;
    default:
        change_weather();
        return;
    }
}

void World::crash_node(log::Peer id) {
    if (!node(id).is_up()) {
        return;
    }
    ++crashes_;
    node(id).crash();
    timeline_.after(timeline_.between(50, 2'500), [this, id] { node(id).start(); });
}

void World::crash_participant() {
    Participant& victim = *participants_.at(participant_names[timeline_.pick(4)]);
    if (victim.is_up()) {
        ++crashes_;
        victim.crash();
        timeline_.after(timeline_.between(50, 3'000), [&victim] { victim.start(); });
    }
}

void World::cut_somewhere() {
    const log::Peer victim = some_node();
    const bool one_way = timeline_.chance(400);
    for (log::Peer other = 1; other <= node_count; ++other) {
        if (other != victim && timeline_.chance(800)) {
            cuts_[{victim, other}] = true;
            cuts_[{other, victim}] = !one_way;
        }
    }
    timeline_.after(timeline_.between(200, 3'000), [this] { cuts_.clear(); });
}

void World::change_weather() {
    weather_.loss_permille = timeline_.chance(500) ? 0 : static_cast<unsigned>(timeline_.pick(150));
    weather_.duplication_permille = static_cast<unsigned>(timeline_.pick(100));
    weather_.max_delay = timeline_.between(2, 120);
    weather_.max_disk_delay = timeline_.chance(700) ? 4 : timeline_.between(5, 150);
}

void World::heal() {
    faults_on_ = false;
    cuts_.clear();
    weather_ = Weather{};
    for (auto& one : nodes_) {
        one->start();
        one->pause(0);
    }
    for (auto& [name, participant] : participants_) {
        participant->start();
    }
}

// ---------------------------------------------------------------- rest

bool World::is_at_rest() const {
    const bool nodes_rest = std::ranges::all_of(nodes_, [&](const auto& one) {
        return one->is_up() && one->is_idle() &&
               one->state_fingerprint() == nodes_.front()->state_fingerprint();
    });
    return nodes_rest && pending_.empty() &&
           std::ranges::all_of(orders_, [](const auto& item) { return item.second.told; }) &&
           std::ranges::all_of(participants_,
                               [](const auto& item) { return item.second->in_doubt().empty(); });
}

std::string World::describe() const {
    std::string text;
    for (const auto& one : nodes_) {
        text += "\n  " + one->describe();
    }
    for (const auto& [name, participant] : participants_) {
        text += "\n  " + name + " in doubt:";
        for (const std::string& xid : participant->in_doubt()) {
            text += " " + xid;
        }
    }
    text += "\n  waiting clients: " + std::to_string(pending_.size()) + "\n  without an answer:";
    for (const auto& [xid, order] : orders_) {
        text += order.told ? "" : " " + xid;
    }
    return text;
}

} // namespace concordat::simulation
