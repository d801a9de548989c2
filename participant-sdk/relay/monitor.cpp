#include "participant-sdk/relay/monitor.hpp"

#include "participant-sdk/relay/event_log.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds look_interval{1000};
constexpr std::chrono::milliseconds measure_interval{5000};
// Over a million dead rows a measurement takes long: it may not take more than this share of time.
constexpr int measure_share = 20;

constexpr const char* sql_parked_keys =
    "SELECT topic, key, row_id FROM concordat_outbox_parked LIMIT $1";

// Counting stops at the limit: a backlog of millions must not be scanned every few seconds.
constexpr const char* sql_measure =
    "SELECT (SELECT count(*) FROM (SELECT FROM concordat_outbox LIMIT 100000) c), "
    "coalesce((SELECT (extract(epoch FROM clock_timestamp() - min(o.created_at)) * 1000)::bigint "
    " FROM generate_series(0, 63) AS b (bucket) CROSS JOIN LATERAL (SELECT created_at FROM "
    " concordat_outbox c WHERE c.bucket = b.bucket ORDER BY c.id LIMIT 1) o), 0), "
    "(SELECT count(*) FROM concordat_outbox_parked), "
    "(SELECT count(*) FROM (SELECT FROM concordat_outbox_dead LIMIT 100000) d)";

// Keys and payloads may be any bytes: keys go out as hex, payloads as their size only.
constexpr const char* sql_list_parked =
    "SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.row_id), '[]')::text FROM (SELECT topic, "
    "encode(key, 'hex') AS key_hex, row_id, event_id, reason, detail, parked_at, (SELECT count(*) "
    "FROM (SELECT FROM concordat_outbox o WHERE o.topic = p.topic AND o.key = p.key "
    "AND o.bucket = (hashtext(encode(p.key, 'hex')) & 63)::smallint LIMIT 1000) w) AS rows_waiting "
    "FROM concordat_outbox_parked p WHERE row_id > $1 ORDER BY row_id LIMIT $2) r";

constexpr const char* sql_list_dead =
    "SELECT coalesce(json_agg(row_to_json(r) ORDER BY r.id), '[]')::text FROM (SELECT id, "
    "row_id, event_id, topic, encode(key, 'hex') AS key_hex, type, octet_length(payload) AS "
    "payload_bytes, reason, detail, created_at, dead_at FROM concordat_outbox_dead WHERE id > $1 "
    "ORDER BY id LIMIT $2) r";

constexpr const char* sql_show_dead =
    "SELECT row_to_json(r)::text FROM (SELECT id, row_id, event_id, topic, encode(key, 'hex') AS "
    "key_hex, type, headers, encode(substr(payload, 1, 1048576), 'hex') AS payload_hex, "
    "octet_length(payload) AS payload_bytes, reason, detail, created_at, dead_at "
    "FROM concordat_outbox_dead WHERE id = $1) r";

// A lease that has run out is free, whoever had it. An instance that is alive may own nothing yet.
constexpr const char* sql_list_leases =
    "SELECT json_build_object('instances', coalesce((SELECT json_agg(row_to_json(r) ORDER BY "
    "r.instance) FROM (SELECT n.instance, count(l.bucket) AS buckets, "
    "(min(extract(epoch FROM l.expires_at - clock_timestamp())) * 1000)::bigint AS expires_in_ms "
    "FROM (SELECT instance FROM concordat_outbox_relay WHERE expires_at > clock_timestamp() UNION "
    "SELECT owner FROM concordat_outbox_lease WHERE owner IS NOT NULL "
    "AND expires_at > clock_timestamp()) n LEFT JOIN concordat_outbox_lease l "
    "ON l.owner = n.instance AND l.expires_at > clock_timestamp() GROUP BY n.instance) r), '[]'), "
    "'free_buckets', (SELECT count(*) FROM concordat_outbox_lease "
    "WHERE owner IS NULL OR expires_at <= clock_timestamp()))::text";

// Each names the row it is about, for the log: done, row id, event id, topic.
constexpr const char* sql_replay_parked =
    "SELECT concordat_outbox_replay_parked(topic, key), row_id, event_id, topic "
    "FROM concordat_outbox_parked WHERE topic = $1 AND key = $2";
constexpr const char* sql_skip_parked =
    "SELECT concordat_outbox_skip_parked(topic, key), row_id, event_id, topic "
    "FROM concordat_outbox_parked WHERE topic = $1 AND key = $2";
constexpr const char* sql_replay_dead =
    "SELECT concordat_outbox_replay_dead(id), row_id, event_id, topic "
    "FROM concordat_outbox_dead WHERE id = $1";
constexpr const char* sql_drop_dead =
    "DELETE FROM concordat_outbox_dead WHERE id = $1 RETURNING true, row_id, event_id, topic";

struct Change {
    const char* name; // in the log
    const char* sql;
    bool of_key; // the parameters are topic and key; otherwise the id
};

bool is_change(AdminRequest::Kind kind) {
    switch (kind) {
    case AdminRequest::Kind::replay_parked:
    case AdminRequest::Kind::skip_parked:
    case AdminRequest::Kind::replay_dead:
    case AdminRequest::Kind::drop_dead:
        return true;
    default:
        return false;
    }
}

Change change_of(AdminRequest::Kind kind) {
    switch (kind) {
    case AdminRequest::Kind::replay_parked:
        return {.name = "replay_parked", .sql = sql_replay_parked, .of_key = true};
    case AdminRequest::Kind::skip_parked:
        return {.name = "skip_parked", .sql = sql_skip_parked, .of_key = true};
    case AdminRequest::Kind::drop_dead:
        return {.name = "drop_dead", .sql = sql_drop_dead, .of_key = false};
    default:
        return {.name = "replay_dead", .sql = sql_replay_dead, .of_key = false};
    }
}

} // namespace

Monitor::Monitor(const Options& options, std::string conninfo, std::vector<std::string> settings,
                 Engine& engine, Telemetry& telemetry)
    : options_(options),
      conninfo_(std::move(conninfo)),
      settings_(std::move(settings)),
      engine_(engine),
      telemetry_(telemetry) {
    thread_ = std::thread([this] { run(); });
}

Monitor::~Monitor() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
    for (auto& [request, callback] : requests_) {
        callback({.kind = AdminAnswer::Kind::unavailable, .text = "the relay is stopping"});
    }
}

void Monitor::ask(AdminRequest request, Callback callback) {
    {
        const std::lock_guard lock(mutex_);
        if (!stopping_ && requests_.size() < request_limit) {
            requests_.emplace_back(std::move(request), std::move(callback));
            wake_.notify_all();
            return;
        }
    }
    callback({.kind = AdminAnswer::Kind::unavailable, .text = "too many requests are waiting"});
}

std::expected<void, DatabaseError> Monitor::read_parked() {
    const std::uint64_t generation = engine_.parked_generation();
    const auto result = connection_->execute(
        sql_parked_keys, Parameters().int64(static_cast<std::int64_t>(Holds::parked_key_limit)));
    if (!result) {
        return std::unexpected(result.error());
    }
    std::vector<ParkedKey> keys;
    keys.reserve(static_cast<std::size_t>(result->rows()));
    for (int row = 0; row < result->rows(); ++row) {
        keys.push_back({.topic = result->text(row, 0),
                        .key = result->text(row, 1),
                        .row_id = result->int64(row, 2)});
    }
    engine_.set_parked(std::move(keys), generation);
    return {};
}

std::expected<void, DatabaseError> Monitor::measure() {
    const auto result = connection_->execute(sql_measure, Parameters());
    if (!result) {
        return std::unexpected(result.error());
    }
    telemetry_.pending_rows = result->int64(0, 0);
    telemetry_.oldest_pending_ms = result->int64(0, 1);
    telemetry_.parked_now = result->int64(0, 2);
    telemetry_.dead_now = result->int64(0, 3);
    return {};
}

void Monitor::measure_rate() {
    const auto now = std::chrono::steady_clock::now();
    const std::uint64_t published = telemetry_.rows_published;
    if (rate_since_ != std::chrono::steady_clock::time_point{}) {
        telemetry_.published_per_second = static_cast<double>(published - rate_base_) /
                                          std::chrono::duration<double>(now - rate_since_).count();
    }
    rate_since_ = now;
    rate_base_ = published;
}

std::expected<void, DatabaseError> Monitor::look() {
    measure_rate();
    if (!connection_) {
        auto opened = Connection::open(conninfo_, options_.database.timeout, settings_);
        if (!opened) {
            return std::unexpected(opened.error());
        }
        connection_.emplace(std::move(*opened));
    }
    if (const auto parked = read_parked(); !parked) {
        return parked;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now < next_measure_) {
        return {};
    }
    auto measured = measure();
    const auto took = std::chrono::steady_clock::now() - now;
    next_measure_ =
        now + std::max<std::chrono::steady_clock::duration>(measure_interval, measure_share * took);
    return measured;
}

std::expected<AdminAnswer, DatabaseError> Monitor::change(const AdminRequest& request) {
    const Change change = change_of(request.kind);
    const auto result = connection_->execute(
        change.sql, change.of_key ? Parameters().text(request.topic).bytes(request.key)
                                  : Parameters().int64(request.id));
    if (!result) {
        log_event(Severity::warning, "operator_change_failed",
                  {{"action", change.name},
                   {"by", request.by},
                   {"reason", request.reason},
                   {"message", result.error().detail}});
        return std::unexpected(result.error());
    }
    if (result->rows() == 0 || !result->boolean(0, 0)) {
        return AdminAnswer{.kind = AdminAnswer::Kind::not_found, .text = "there is no such entry"};
    }
    log_event(Severity::info, "operator_change",
              {{"action", change.name},
               {"topic", result->text(0, 3)},
               {"row", result->int64(0, 1)},
               {"event_id", format_uuid(result->bytes(0, 2))},
               {"by", request.by},
               {"reason", request.reason}});
    if (const auto parked = read_parked(); !parked) {
        return std::unexpected(parked.error());
    }
    next_measure_ = {}; // the next look shows what is left
    return AdminAnswer{.kind = AdminAnswer::Kind::done, .text = R"({"done":true})"};
}

std::expected<AdminAnswer, DatabaseError> Monitor::list(const AdminRequest& request) {
    const bool parked = request.kind == AdminRequest::Kind::list_parked;
    const auto result = connection_->execute(parked ? sql_list_parked : sql_list_dead,
                                             Parameters().int64(request.id).int64(request.limit));
    if (!result) {
        return std::unexpected(result.error());
    }
    std::string text = parked ? R"({"parked":)" : R"({"dead":)";
    text += result->bytes(0, 0);
    text += "}";
    return AdminAnswer{.kind = AdminAnswer::Kind::done, .text = std::move(text)};
}

std::expected<AdminAnswer, DatabaseError> Monitor::carry_out(const AdminRequest& request) {
    switch (request.kind) {
    case AdminRequest::Kind::list_parked:
    case AdminRequest::Kind::list_dead:
        return list(request);
    case AdminRequest::Kind::list_leases:
    case AdminRequest::Kind::show_dead: {
        const auto result =
            request.kind == AdminRequest::Kind::list_leases
                ? connection_->execute(sql_list_leases, Parameters())
                : connection_->execute(sql_show_dead, Parameters().int64(request.id));
        if (!result) {
            return std::unexpected(result.error());
        }
        if (result->rows() == 0) {
            return AdminAnswer{.kind = AdminAnswer::Kind::not_found,
                               .text = "there is no such row"};
        }
        return AdminAnswer{.kind = AdminAnswer::Kind::done, .text = result->text(0, 0)};
    }
    default:
        return change(request);
    }
}

void Monitor::answer(AdminRequest request, Callback callback) {
    if (!connection_) {
        callback({.kind = AdminAnswer::Kind::unavailable, .text = "the database is away"});
        return;
    }
    auto done = carry_out(request);
    if (!done) {
        const bool unknown = done.error().connection_lost && is_change(request.kind);
        connection_.reset();
        callback({.kind = AdminAnswer::Kind::unavailable,
                  .text = std::string("the database failed") +
                          (unknown ? ", look whether the change was made: " : ": ") +
                          done.error().detail});
        return;
    }
    callback(std::move(*done));
}

void Monitor::run() {
    std::unique_lock lock(mutex_);
    auto next_look = std::chrono::steady_clock::now();
    while (!stopping_) {
        if (!requests_.empty()) {
            auto [request, callback] = std::move(requests_.front());
            requests_.pop_front();
            lock.unlock();
            answer(std::move(request), std::move(callback));
            lock.lock();
            continue;
        }
        if (std::chrono::steady_clock::now() >= next_look) {
            lock.unlock();
            if (const auto looked = look(); !looked) {
                connection_.reset();
                log_event(Severity::debug, "monitor_failed", {{"message", looked.error().detail}});
            }
            lock.lock();
            next_look = std::chrono::steady_clock::now() + look_interval;
        }
        wake_.wait_until(lock, next_look, [this] { return stopping_ || !requests_.empty(); });
    }
}

} // namespace concordat::relay
