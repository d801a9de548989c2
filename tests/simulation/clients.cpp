// Clients that move money and never give up, those who interfere with them, and the inquiries of
// participants.

#include "tests/simulation/world.hpp"

#include <algorithm>

namespace concordat::simulation {
namespace {

constexpr Milliseconds client_patience = 3'000;
const std::string node_url = "http://node";

core::SharedBytes payload_of(std::int64_t amount) {
    return std::make_shared<const std::string>(std::to_string(amount));
}

} // namespace

// ---------------------------------------------------------------- orders

void World::place_orders() {
    place_order();
    if (timeline_.chance(40)) {
        reuse_something();
    }
    timeline_.after(timeline_.between(50, 400), [this] {
        if (faults_on_) {
            place_orders();
        }
    });
}

void World::place_order() {
    const std::string name = "t" + std::to_string(++last_order_);
    Order order = make_order(name);
    if (timeline_.chance(600)) {
        order.xid = core::Xid{name};
        order.begin.xid = order.xid;
    } else {
        order.begin.idempotency_key = name;
    }
    orders_.emplace(name, std::move(order));
    proceed(name);
    if (timeline_.chance(100)) {
        timeline_.after(timeline_.between(0, 1'500), [this, name] { interfere(name); });
    }
}

World::Order World::make_order(const std::string& name) {
    Order order;
    order.reads_left = timeline_.pick(3);
    order.begin.digest = name;
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
    for (const std::string& one : names) {
        const bool only_looks = timeline_.chance(150);
        amounts[one] = only_looks ? 0 : 1 + static_cast<std::int64_t>(timeline_.pick(50));
        rest -= amounts[one];
    }
    amounts[names.front()] += rest;
    for (const std::string& one : names) {
        order.begin.branches.push_back(
            {core::ParticipantName{one}, payload_of(amounts[one]), std::nullopt});
    }
    if (timeline_.chance(300)) {
        order.begin.mode = core::Mode::interactive;
        const auto first_part = static_cast<std::ptrdiff_t>(timeline_.pick(names.size() + 1));
        auto& branches = order.begin.branches;
        order.to_enlist.assign(branches.begin() + first_part, branches.end());
        branches.erase(branches.begin() + first_part, branches.end());
        if (timeline_.chance(150)) {
            order.wanted = core::Outcome::aborted;
        }
    }
    return order;
}

/// Asks for the next thing that this order needs.
void World::proceed(const std::string& name) {
    Order& order = orders_.at(name);
    PendingRequest pending;
    pending.name = name;
    pending.xid = order.xid ? order.xid->value() : "";
    core::ClientRequest request;
    switch (order.step) {
    case Order::Step::done:
        return;
    case Order::Step::begin:
        request = order.begin;
        break;
    case Order::Step::enlist:
        request = core::EnlistRequest{*order.xid, order.to_enlist[order.enlisted]};
        break;
    case Order::Step::decide: {
        core::DecideRequest decide;
        decide.xid = *order.xid;
        decide.wanted = order.wanted;
        decide.wait_for = order.begin.wait_for;
        pending.wanted = order.wanted;
        if (order.wanted == core::Outcome::aborted) {
            timeline_.inject(Fault::client_abort, "client", pending.xid);
        }
        request = std::move(decide);
        break;
    }
    case Order::Step::poll:
    case Order::Step::read:
        pending.is_read = true;
        request = core::GetRequest{*order.xid, false, std::nullopt, std::nullopt};
        break;
    }
    const log::Peer node = timeline_.chance(300) && leader() != 0 ? leader() : some_voter();
    if (order.asked != 0 && order.asked != node) {
        timeline_.count(Fault::client_other_node);
    }
    order.asked = node;
    ask(node, std::move(pending), std::move(request));
}

/// An operator or a second client decides the same transaction (C13), or hurries it.
void World::interfere(const std::string& name) {
    const Order& order = orders_.at(name);
    if (!order.xid) {
        return;
    }
    PendingRequest pending;
    pending.kind = PendingRequest::Kind::interference;
    pending.name = name;
    pending.xid = order.xid->value();
    if (timeline_.chance(250)) {
        ask(some_voter(), std::move(pending), core::RetryRequest{*order.xid, "operator", "test"});
        return;
    }
    timeline_.inject(Fault::second_decider, "operator", pending.xid);
    core::DecideRequest decide;
    decide.xid = *order.xid;
    decide.by_operator = timeline_.chance(500);
    // A second commit is only wanted of what was going to be committed as it is.
    decide.wanted = order.step == Order::Step::decide ? order.wanted : core::Outcome::aborted;
    decide.who = "operator";
    decide.why = "test";
    pending.wanted = decide.wanted;
    ask(leader() != 0 ? leader() : some_voter(), std::move(pending), std::move(decide));
}

/// Begins something under the name of a transaction that is long forgotten (C15).
void World::reuse_something() {
    if (finished_orders_.empty()) {
        return;
    }
    const std::string& name = finished_orders_[timeline_.pick(finished_orders_.size())];
    const Order& order = orders_.at(name);
    if (!order.xid || order.begin.xid || !ledger_.may_be_forgotten(order.xid->value())) {
        return;
    }
    timeline_.inject(Fault::xid_reused, "client", order.xid->value());
    PendingRequest pending;
    pending.kind = PendingRequest::Kind::reuse;
    pending.name = name;
    pending.xid = order.xid->value();
    core::BeginRequest begin = order.begin;
    begin.xid = order.xid;
    begin.idempotency_key.clear();
    ask(leader() != 0 ? leader() : some_voter(), std::move(pending), std::move(begin));
}

// ---------------------------------------------------------------- questions of participants

std::vector<std::string> World::coordinators() const {
    std::vector<std::string> urls;
    for (const auto& one : nodes_) {
        if (voters_.empty() || is_voter(one->id())) {
            urls.push_back(node_url + std::to_string(one->id()));
        }
    }
    return urls;
}

void World::ask_coordinator(const std::string& url, core::ClientRequest request,
                            std::function<void(const core::Reply&)> answer) {
    auto id = static_cast<log::Peer>(std::stoul(url.substr(node_url.size())));
    if (gone_.contains(id)) {
        id = some_voter(); // an address outlives the node that it was given to
    }
    if (id != leader()) {
        timeline_.count(Fault::inquiry_to_follower);
    }
    PendingRequest pending;
    pending.kind = PendingRequest::Kind::inquiry;
    pending.hear = std::move(answer);
    ask(id, std::move(pending), std::move(request));
}

// ---------------------------------------------------------------- requests and replies

void World::ask(log::Peer id, PendingRequest pending, core::ClientRequest request) {
    const std::uint64_t token = ++last_token_;
    pending.node = id;
    pending.known = ledger_.known(pending.xid);
    const bool is_order = pending.kind == PendingRequest::Kind::order;
    const std::string name = pending.name;
    pending_.emplace(token, std::move(pending));
    if (!is_lost()) {
        timeline_.after(delay(), [this, id, token, request = std::move(request)] {
            node(id).request(core::RequestToken{token}, request);
        });
    }
    timeline_.after(client_patience, [this, token, id, name, is_order] {
        if (pending_.erase(token) > 0) {
            node(id).forget_request(core::RequestToken{token});
            if (is_order) {
                give_up_enlisting(orders_.at(name));
                try_again(name);
            }
        }
    });
}

void World::reply(log::Peer, core::RequestToken token, core::Reply reply) {
    const auto found = pending_.find(token.value());
    if (found != pending_.end()) {
        check_reply(found->second, reply);
    }
    if (is_lost()) {
        return;
    }
    timeline_.after(delay(), [this, token, reply = std::move(reply)] {
        const auto waiting = pending_.find(token.value());
        if (waiting != pending_.end()) {
            const PendingRequest pending = waiting->second;
            pending_.erase(waiting);
            answered(pending, reply);
        }
    });
}

/// What is told counts from the moment at which it leaves, even if nobody hears it.
void World::check_reply(const PendingRequest& pending, const core::Reply& reply) {
    if (const auto* transaction = std::get_if<core::TransactionReply>(&reply)) {
        const std::string& xid = transaction->view.xid.value();
        ledger_.told_begun(xid);
        if (transaction->view.outcome) {
            ledger_.told(xid, *transaction->view.outcome);
        }
        if (pending.is_read) {
            ledger_.read(xid, pending.known, transaction->view.outcome);
        }
    } else if (const auto* inquiry = std::get_if<core::InquiryReply>(&reply);
               inquiry != nullptr && inquiry->outcome) {
        ledger_.told(inquiry->xid.value(), *inquiry->outcome);
    } else if (const auto* no = std::get_if<core::Rejected>(&reply)) {
        if (no->code == core::RejectCode::already_decided && pending.wanted) {
            ledger_.told(pending.xid, *pending.wanted == core::Outcome::committed
                                          ? core::Outcome::aborted
                                          : core::Outcome::committed);
        } else if (no->code == core::RejectCode::transaction_not_found && pending.is_read) {
            ledger_.read_not_found(pending.xid, pending.known);
        }
    }
}

void World::answered(const PendingRequest& pending, const core::Reply& reply) {
    switch (pending.kind) {
    case PendingRequest::Kind::registration:
        if (std::holds_alternative<core::Acknowledged>(reply)) {
            registered_.insert(pending.name);
        }
        return;
    case PendingRequest::Kind::order:
        answered_order(pending, reply);
        return;
    case PendingRequest::Kind::inquiry:
        pending.hear(reply);
        return;
    case PendingRequest::Kind::reuse:
        if (const auto* taken = std::get_if<core::TransactionReply>(&reply);
            taken != nullptr && !orders_.at(pending.name).begin.xid && taken->created) {
            throw Violation("C15: " + pending.xid + ", made by the server, was begun again");
        }
        return;
    case PendingRequest::Kind::interference:
        return;
    }
}

void World::answered_order(const PendingRequest& pending, const core::Reply& reply) {
    Order& order = orders_.at(pending.name);
    if (const auto* transaction = std::get_if<core::TransactionReply>(&reply)) {
        answered_transaction(order, *transaction);
    } else if (const auto* no = std::get_if<core::Rejected>(&reply)) {
        rejected(order, pending, *no);
    }
    if (order.step == Order::Step::done) {
        finished_orders_.push_back(pending.name);
        return;
    }
    const bool is_read = order.step == Order::Step::read;
    const bool repeats = !std::holds_alternative<core::TransactionReply>(reply);
    if (repeats) {
        try_again(pending.name);
    } else {
        timeline_.after(is_read ? timeline_.between(10, 2'000) : timeline_.between(1, 200),
                        [this, name = pending.name] { proceed(name); });
    }
}

void World::answered_transaction(Order& order, const core::TransactionReply& reply) {
    order.xid = reply.view.xid;
    if (reply.view.outcome) {
        told(order, *reply.view.outcome);
        return;
    }
    switch (order.step) {
    case Order::Step::enlist:
        ++order.enlisted;
        [[fallthrough]];
    case Order::Step::begin:
        if (order.begin.mode == core::Mode::submit) {
            order.step = Order::Step::poll;
        } else {
            order.step =
                order.enlisted < order.to_enlist.size() ? Order::Step::enlist : Order::Step::decide;
        }
        return;
    case Order::Step::decide:
        order.step = Order::Step::poll;
        return;
    case Order::Step::poll:
    case Order::Step::read:
    case Order::Step::done:
        return;
    }
}

void World::told(Order& order, core::Outcome outcome) {
    timeline_.tell(order.xid->value(), "client",
                   outcome == core::Outcome::committed ? "told_committed" : "told_aborted");
    if (order.reads_left > 0) {
        --order.reads_left;
        order.step = Order::Step::read;
    } else {
        order.step = Order::Step::done;
    }
}

void World::rejected(Order& order, const PendingRequest& pending, const core::Rejected& reply) {
    switch (reply.code) {
    case core::RejectCode::already_decided:
        told(order, *pending.wanted == core::Outcome::committed ? core::Outcome::aborted
                                                                : core::Outcome::committed);
        return;
    case core::RejectCode::registration_closed:
        order.step = Order::Step::poll; // its time ran out, or somebody else decided it
        return;
    case core::RejectCode::outcome_unknown:
        give_up_enlisting(order);
        return;
    case core::RejectCode::transaction_not_found:
    case core::RejectCode::xid_closed:
        if (pending.known.begun && !ledger_.may_be_forgotten(pending.xid)) {
            throw Violation("I8: " + pending.xid + " was begun, and nobody knows it");
        }
        order.step = Order::Step::done; // it took too long, its record is forgotten
        return;
    default:
        return;
    }
}

/// Enlisted or not? The client cannot know, and a second branch would move the money twice.
void World::give_up_enlisting(Order& order) {
    if (order.step == Order::Step::enlist) {
        order.wanted = core::Outcome::aborted;
        order.step = Order::Step::decide;
    }
}

void World::try_again(const std::string& name) {
    Order& order = orders_.at(name);
    timeline_.inject(Fault::client_retry, "client", order.xid ? order.xid->value() : "-");
    timeline_.after(timeline_.between(20, 300), [this, name] { proceed(name); });
}

} // namespace concordat::simulation
