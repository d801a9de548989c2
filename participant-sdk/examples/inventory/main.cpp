// inventory-service: keeps stock. Its share of a transaction takes goods from the shelf, or votes
// no when there are not enough.
//
//   GET /stock/{sku}      PUT /stock/{sku} {"quantity"}

#include "participant-sdk/examples/common/example_service.hpp"

using concordat::HttpRequest;
using concordat::HttpResponse;
using example::Json;

namespace {

constexpr const char* schema = R"(
CREATE TABLE IF NOT EXISTS stock (
    sku      text PRIMARY KEY,
    quantity bigint NOT NULL CHECK (quantity >= 0)
))";

concordat::VoteCast take_goods(concordat::PostgresBranch& branch) {
    const Json goods = Json::parse(branch.payload());
    const auto taken = branch.transaction().exec_params(
        "UPDATE stock SET quantity = quantity - $2 WHERE sku = $1 AND quantity >= $2",
        goods.at("sku").get<std::string>(), goods.at("quantity").get<std::int64_t>());
    return taken.affected_rows() == 0 ? concordat::vote_no("out of stock") : concordat::vote_yes();
}

HttpResponse get_stock(const std::string& database, const std::string& sku) {
    return example::in_database(database, [&](pqxx::work& transaction) {
        const auto rows = transaction.exec_params("SELECT quantity FROM stock WHERE sku = $1", sku);
        if (rows.empty()) {
            return example::answer(404, {{"error", "no such sku"}});
        }
        return example::answer(200, {{"sku", sku}, {"quantity", rows[0][0].as<std::int64_t>()}});
    });
}

HttpResponse put_stock(const std::string& database, const std::string& sku,
                       const HttpRequest& request) {
    const Json body = Json::parse(request.body, nullptr, false);
    if (!body.contains("quantity")) {
        return example::answer(400, {{"error", "quantity is missing"}});
    }
    const auto quantity = body["quantity"].get<std::int64_t>();
    return example::in_database(database, [&](pqxx::work& transaction) {
        transaction.exec_params("INSERT INTO stock (sku, quantity) VALUES ($1, $2) "
                                "ON CONFLICT (sku) DO UPDATE SET quantity = excluded.quantity",
                                sku, quantity);
        return example::answer(200, {{"sku", sku}, {"quantity", quantity}});
    });
}

} // namespace

int main(int argc, char** argv) {
    example::Options options;
    options.name = "inventory";
    example::read_options(argc, argv, "Keeps stock as a participant of transactions.", options);
    const auto route = [&options](const HttpRequest& request) {
        const auto sku = example::after(request.target, "/stock/");
        if (sku.empty()) {
            return example::answer(404, {{"error", "no such resource"}});
        }
        return request.method == "PUT" ? put_stock(options.database, sku, request)
                                       : get_stock(options.database, sku);
    };
    return example::run(options, {schema, take_goods, route});
}
