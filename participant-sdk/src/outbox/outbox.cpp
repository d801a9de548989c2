#include "participant-sdk/src/outbox/record_headers.hpp"

#include <concordat/outbox.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include <algorithm>
#include <atomic>
#include <chrono>

namespace concordat::outbox {
namespace {

constexpr std::chrono::milliseconds wake_interval{20};

std::unexpected<PublishError> invalid(std::string detail) {
    return std::unexpected(
        PublishError{.kind = PublishError::Kind::invalid_message, .detail = std::move(detail)});
}

bool is_topic_character(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

// 8-4-4-4-12 hexadecimal digits.
bool is_uuid(std::string_view text) noexcept {
    if (text.size() != 36) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        const char c = text[i];
        const bool digit =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !digit) {
            return false;
        }
    }
    return true;
}

std::expected<void, PublishError> check(const Message& message) {
    if (message.topic.empty() || message.topic.size() > topic_limit_bytes) {
        return invalid(fmt::format("topic must have 1 to {} bytes", topic_limit_bytes));
    }
    if (!std::ranges::all_of(message.topic, is_topic_character)) {
        return invalid("topic may hold letters, digits, '.', '_' and '-' only");
    }
    if (message.key && message.key->size() > key_limit_bytes) {
        return invalid(fmt::format("key has more than {} bytes", key_limit_bytes));
    }
    if (message.type.size() > type_limit_bytes) {
        return invalid(fmt::format("type has more than {} bytes", type_limit_bytes));
    }
    if (message.type.find('\0') != std::string::npos) {
        return invalid("type may not hold NUL");
    }
    if (!message.event_id.empty() && !is_uuid(message.event_id)) {
        return invalid("event_id is not a UUID");
    }
    if (message.payload && message.payload->size() > payload_limit_bytes) {
        return invalid(fmt::format("payload has {} bytes, the limit is {}", message.payload->size(),
                                   payload_limit_bytes));
    }
    return {};
}

// No value: no headers.
std::expected<std::optional<std::string>, PublishError> headers_json(const Message& message) {
    if (message.headers.empty()) {
        return std::optional<std::string>{};
    }
    nlohmann::json object = nlohmann::json::object();
    for (const auto& [name, value] : message.headers) {
        if (name.empty()) {
            return invalid("a header has no name");
        }
        if (identifies_message(name)) {
            return invalid(fmt::format("header '{}' is the relay's to write", name));
        }
        if (!object.emplace(name, value).second) {
            return invalid(fmt::format("header '{}' occurs twice", name));
        }
    }
    try {
        std::string text = object.dump();
        if (text.find("\\u0000") != std::string::npos) {
            return invalid("headers may not hold NUL");
        }
        // The database measures its own rendering, which has a blank after each ':' and ','.
        if (text.size() + 2 * message.headers.size() > headers_limit_bytes) {
            return invalid(fmt::format("headers have more than {} bytes", headers_limit_bytes));
        }
        return std::optional<std::string>{std::move(text)};
    } catch (const nlohmann::json::exception&) {
        return invalid("headers must be UTF-8");
    }
}

std::optional<pqxx::binarystring> as_binary(const std::optional<std::string>& bytes) {
    if (!bytes) {
        return std::nullopt;
    }
    return pqxx::binarystring(bytes->data(), bytes->size());
}

} // namespace

std::expected<std::string, PublishError> publish(pqxx::transaction_base& transaction,
                                                 const Message& message) {
    if (auto checked = check(message); !checked) {
        return std::unexpected(checked.error());
    }
    const auto headers = headers_json(message);
    if (!headers) {
        return std::unexpected(headers.error());
    }
    try {
        const auto key = as_binary(message.key);
        const auto payload = as_binary(message.payload);
        const pqxx::binarystring none("");
        // A missing bytea is told by a flag: libpqxx 6 has no optional binary parameter.
        const pqxx::result result = transaction.exec_params(
            "INSERT INTO concordat_outbox (event_id, topic, key, type, headers, payload) VALUES "
            "(coalesce(nullif($1, '')::uuid, gen_random_uuid()), $2, CASE WHEN $4 THEN $3::bytea "
            "END, $5, nullif($6, '')::jsonb, CASE WHEN $8 THEN $7::bytea END) RETURNING event_id",
            message.event_id, message.topic, key ? *key : none, key.has_value(), message.type,
            headers->value_or(""), payload ? *payload : none, payload.has_value());
        return result.at(0).at(0).as<std::string>();
    } catch (const std::exception& error) {
        return std::unexpected(
            PublishError{.kind = PublishError::Kind::database_error, .detail = error.what()});
    }
}

bool wake(pqxx::connection_base& connection) noexcept {
    static std::atomic<std::chrono::steady_clock::rep> last_wake{0};
    try {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        auto last = last_wake.load(std::memory_order_relaxed);
        const auto since = now - std::chrono::steady_clock::duration(last);
        if (since < wake_interval || !last_wake.compare_exchange_strong(last, now.count())) {
            return false;
        }
        pqxx::nontransaction statement(connection);
        statement.exec("NOTIFY concordat_outbox");
        return true;
    } catch (const std::exception&) {
        return false;
    }
}

} // namespace concordat::outbox
