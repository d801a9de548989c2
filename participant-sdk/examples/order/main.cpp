// order-service: takes orders. Its share of a transaction creates the order and takes the payment
// from the customer's balance; the inventory service takes the goods. Both happen, or neither.
// With them goes the event "order.placed", through the outbox: concordat-relay publishes it if and
// only if the transaction commits. The shipping service beside this one consumes it.
//
//   POST /orders {"customer", "sku", "quantity", "amount", "protocol"?: "2pc"|"3pc"}
//   GET  /orders/{id}
//   GET  /balances/{customer}      PUT /balances/{customer} {"balance"}

#include "participant-sdk/examples/common/example_service.hpp"

#include <concordat/outbox.hpp>

using concordat::HttpRequest;
using concordat::HttpResponse;
using example::Json;

namespace {

constexpr const char* schema = R"(
CREATE TABLE IF NOT EXISTS customer_balance (
    customer text PRIMARY KEY,
    balance  bigint NOT NULL CHECK (balance >= 0)
);
CREATE TABLE IF NOT EXISTS customer_order (
    id       text PRIMARY KEY,
    customer text NOT NULL REFERENCES customer_balance,
    sku      text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    amount   bigint NOT NULL CHECK (amount >= 0)
))";

// Published with the transaction, which ends with PREPARE TRANSACTION: the row of the outbox is
// invisible until COMMIT PREPARED and gone after ROLLBACK PREPARED. The key keeps a customer's
// orders in order: whoever is here holds the lock of the customer's balance.
concordat::VoteCast announce(concordat::PostgresBranch& branch, const Json& order) {
    const Json event = {{"order", branch.key().xid.value()},
                        {"customer", order.at("customer")},
                        {"sku", order.at("sku")},
                        {"quantity", order.at("quantity")},
                        {"amount", order.at("amount")}};
    concordat::outbox::Message message;
    message.topic = "order";
    message.type = "order.placed";
    message.key = order.at("customer").get<std::string>();
    message.payload = event.dump();
    const auto published = concordat::outbox::publish(branch.transaction(), message);
    return published ? concordat::vote_yes() : concordat::vote_no(published.error().detail);
}

// The order service's branch. What it throws, or a no, leaves nothing behind.
concordat::VoteCast place_order(concordat::PostgresBranch& branch) {
    const Json order = Json::parse(branch.payload());
    const auto customer = order.at("customer").get<std::string>();
    const auto amount = order.at("amount").get<std::int64_t>();
    const auto paid = branch.transaction().exec_params(
        "UPDATE customer_balance SET balance = balance - $2 WHERE customer = $1 AND balance >= $2",
        customer, amount);
    if (paid.affected_rows() == 0) {
        return concordat::vote_no("out of money");
    }
    branch.transaction().exec_params(
        "INSERT INTO customer_order (id, customer, sku, quantity, amount) "
        "VALUES ($1, $2, $3, $4, $5)",
        branch.key().xid.value(), customer, order.at("sku").get<std::string>(),
        order.at("quantity").get<std::int64_t>(), amount);
    return announce(branch, order);
}

class OrderApi {
public:
    OrderApi(const example::Options& options, std::string inventory)
        : options_(options),
          inventory_(std::move(inventory)),
          client_(example::client_options(options)) {}

    HttpResponse operator()(const HttpRequest& request) {
        if (request.method == "POST" && request.target == "/orders") {
            return post_order(request);
        }
        if (const auto id = example::after(request.target, "/orders/"); !id.empty()) {
            return get_order(id);
        }
        if (const auto who = example::after(request.target, "/balances/"); !who.empty()) {
            return request.method == "PUT" ? put_balance(who, request) : get_balance(who);
        }
        return example::answer(404, {{"error", "no such resource"}});
    }

private:
    HttpResponse post_order(const HttpRequest& request) {
        const Json order = Json::parse(request.body, nullptr, false);
        for (const char* member : {"customer", "sku", "quantity", "amount"}) {
            if (!order.contains(member)) {
                return example::answer(400, {{"error", std::string(member) + " is missing"}});
            }
        }
        const Json goods = {{"sku", order["sku"]}, {"quantity", order["quantity"]}};
        concordat::Submission submission;
        submission.xid = concordat::Xid::random(); // is the order's id as well
        submission.protocol = order.value("protocol", "2pc") == "3pc"
                                  ? concordat::Protocol::three_phase
                                  : concordat::Protocol::two_phase;
        submission.branches = {{options_.name, order.dump()}, {inventory_, goods.dump()}};

        const auto done = client_.submit(submission);
        const std::string& id = submission.xid->value();
        if (!done) {
            // With effect none nothing was ordered. Otherwise the order may exist: look later.
            const bool nothing = done.error().effect == concordat::Effect::none;
            return example::answer(nothing ? 503 : 202, {{"order", id},
                                                         {"outcome", nothing ? "none" : "unknown"},
                                                         {"error", done.error().detail}});
        }
        if (done->outcome == concordat::Outcome::committed) {
            return example::answer(201, {{"order", id}, {"outcome", "committed"}});
        }
        return example::answer(409,
                               {{"order", id}, {"outcome", "aborted"}, {"reason", done->detail}});
    }

    HttpResponse get_order(const std::string& id) {
        return example::in_database(options_.database, [&](pqxx::work& transaction) {
            const auto rows = transaction.exec_params(
                "SELECT customer, sku, quantity, amount FROM customer_order WHERE id = $1", id);
            if (rows.empty()) {
                return example::answer(404, {{"error", "no such order"}});
            }
            return example::answer(200, {{"order", id},
                                         {"customer", rows[0][0].as<std::string>()},
                                         {"sku", rows[0][1].as<std::string>()},
                                         {"quantity", rows[0][2].as<std::int64_t>()},
                                         {"amount", rows[0][3].as<std::int64_t>()}});
        });
    }

    HttpResponse get_balance(const std::string& customer) {
        return example::in_database(options_.database, [&](pqxx::work& transaction) {
            const auto rows = transaction.exec_params(
                "SELECT balance FROM customer_balance WHERE customer = $1", customer);
            if (rows.empty()) {
                return example::answer(404, {{"error", "no such customer"}});
            }
            return example::answer(
                200, {{"customer", customer}, {"balance", rows[0][0].as<std::int64_t>()}});
        });
    }

    HttpResponse put_balance(const std::string& customer, const HttpRequest& request) {
        const Json body = Json::parse(request.body, nullptr, false);
        if (!body.contains("balance")) {
            return example::answer(400, {{"error", "balance is missing"}});
        }
        const auto balance = body["balance"].get<std::int64_t>();
        return example::in_database(options_.database, [&](pqxx::work& transaction) {
            transaction.exec_params(
                "INSERT INTO customer_balance (customer, balance) VALUES ($1, $2) "
                "ON CONFLICT (customer) DO UPDATE SET balance = excluded.balance",
                customer, balance);
            return example::answer(200, {{"customer", customer}, {"balance", balance}});
        });
    }

    const example::Options& options_;
    const std::string inventory_;
    concordat::Client client_;
};

} // namespace

int main(int argc, char** argv) {
    example::Options options;
    options.name = "order";
    std::string inventory = "inventory";
    example::read_options(argc, argv, "Takes orders, one transaction each.", options,
                          {{"--inventory", &inventory}});
    OrderApi api(options, inventory);
    return example::run(options, {schema, place_order,
                                  [&api](const HttpRequest& request) { return api(request); },
                                  concordat::outbox::wake});
}
