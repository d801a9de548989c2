// Clients that move money and never give up, and the inquiries of participants.

#include "tests/simulation/world.hpp"

namespace concordat::simulation {
namespace {

constexpr Milliseconds client_patience = 3'000;

} // namespace

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
    timeline_.tell(xid, "client",
                   *transaction->view.outcome == core::Outcome::committed ? "told_committed"
                                                                          : "told_aborted");
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
            timeline_.inject(Fault::client_retry, "client", xid);
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

} // namespace concordat::simulation
