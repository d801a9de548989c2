#include "participant-sdk/relay/lease_keeper.hpp"

#include "participant-sdk/relay/database.hpp"
#include "participant-sdk/relay/event_log.hpp"
#include "participant-sdk/src/postgres/durable_commits.hpp"

#include <algorithm>
#include <optional>
#include <vector>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds reconnect_pause{200};

constexpr const char* sql_heartbeat =
    "INSERT INTO concordat_outbox_relay (instance, expires_at) "
    "VALUES ($1, clock_timestamp() + $2::bigint * interval '1 ms') "
    "ON CONFLICT (instance) DO UPDATE SET expires_at = excluded.expires_at";

constexpr const char* sql_forget_dead =
    "DELETE FROM concordat_outbox_relay WHERE expires_at < clock_timestamp() - interval '1 minute'";

constexpr const char* sql_renew =
    "UPDATE concordat_outbox_lease l "
    "SET expires_at = clock_timestamp() + $2::bigint * interval '1 ms' "
    "FROM unnest($3::smallint[], $4::bigint[]) AS held (bucket, epoch) "
    "WHERE l.bucket = held.bucket AND l.epoch = held.epoch AND l.owner = $1 "
    "RETURNING l.bucket";

constexpr const char* sql_census =
    "SELECT (SELECT count(*) FROM concordat_outbox_relay WHERE expires_at > clock_timestamp()), "
    "(SELECT count(*) FROM concordat_outbox_lease "
    " WHERE owner IS NULL OR expires_at < clock_timestamp())";

constexpr const char* sql_take =
    "WITH free AS (SELECT bucket FROM concordat_outbox_lease "
    " WHERE owner IS NULL OR expires_at < clock_timestamp() "
    " ORDER BY random() LIMIT $3 FOR UPDATE SKIP LOCKED) "
    "UPDATE concordat_outbox_lease l SET owner = $1, epoch = l.epoch + 1, "
    "expires_at = clock_timestamp() + $2::bigint * interval '1 ms' "
    "FROM free WHERE l.bucket = free.bucket RETURNING l.bucket, l.epoch";

constexpr const char* sql_release =
    "UPDATE concordat_outbox_lease l SET owner = NULL, expires_at = '-infinity' "
    "FROM unnest($2::smallint[], $3::bigint[]) AS held (bucket, epoch) "
    "WHERE l.bucket = held.bucket AND l.epoch = held.epoch AND l.owner = $1";

constexpr const char* sql_leave = "DELETE FROM concordat_outbox_relay WHERE instance = $1";

struct HeldArrays {
    std::vector<std::int16_t> buckets;
    std::vector<std::int64_t> epochs;
};

HeldArrays arrays_of(const Grant& grant, const Buckets& which) {
    HeldArrays out;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        if (which.test(bucket)) {
            out.buckets.push_back(static_cast<std::int16_t>(bucket));
            out.epochs.push_back(grant.epochs[bucket]);
        }
    }
    return out;
}

} // namespace

class LeaseKeeper::Session {
public:
    std::optional<Connection> connection;

    std::expected<Result, std::string> execute(const char* sql, const Parameters& parameters) {
        auto result = connection->execute(sql, parameters);
        if (!result) {
            const std::string detail = result.error().detail;
            connection.reset();
            return std::unexpected(detail);
        }
        return std::move(*result);
    }
};

LeaseKeeper::LeaseKeeper(const Options& options, std::string instance, std::string conninfo,
                         std::vector<std::string> settings, std::function<void()> changed)
    : options_(options),
      instance_(std::move(instance)),
      conninfo_(std::move(conninfo)),
      settings_(std::move(settings)),
      changed_(std::move(changed)) {
    thread_ = std::thread([this] { run(); });
}

LeaseKeeper::~LeaseKeeper() {
    stop();
}

Grant LeaseKeeper::grant() const {
    const std::lock_guard lock(mutex_);
    return grant_;
}

LeaseKeeper::Status LeaseKeeper::status() const {
    const std::lock_guard lock(mutex_);
    Status status = status_;
    status.owned = std::chrono::steady_clock::now() < grant_.valid_until ? grant_.owned.count() : 0;
    return status;
}

void LeaseKeeper::drained(const Buckets& buckets) {
    {
        const std::lock_guard lock(mutex_);
        drained_ |= buckets & grant_.leaving;
    }
    wake_.notify_all();
}

void LeaseKeeper::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void LeaseKeeper::set_status(bool connected, std::string detail) {
    const std::lock_guard lock(mutex_);
    if (status_.connected != connected || status_.detail != detail) {
        log_event(connected ? Severity::info : Severity::warning, "lease_database",
                  {{"connected", connected}, {"message", detail}});
    }
    status_.connected = connected;
    status_.detail = std::move(detail);
}

// The others look once per heartbeat: with that, they have an expired lease within its duration.
std::chrono::milliseconds LeaseKeeper::granted() const noexcept {
    return options_.lease.duration -
           std::min(options_.lease.heartbeat, options_.lease.duration / 10);
}

std::expected<void, std::string> LeaseKeeper::renew(Session& session) {
    const auto sent_at = std::chrono::steady_clock::now();
    if (sent_at < next_renewal_) {
        return {};
    }
    const Grant held = grant();
    const HeldArrays arrays = arrays_of(held, held.owned);
    const auto renewed = session.execute(sql_renew, Parameters()
                                                        .text(instance_)
                                                        .int64(granted().count())
                                                        .int16_array(arrays.buckets)
                                                        .int64_array(arrays.epochs));
    if (!renewed) {
        return std::unexpected(renewed.error());
    }
    Buckets kept;
    for (int row = 0; row < renewed->rows(); ++row) {
        kept.set(static_cast<std::size_t>(renewed->int16(row, 0)));
    }
    const bool lost = kept != held.owned;
    {
        const std::lock_guard lock(mutex_);
        grant_.owned = kept;
        grant_.leaving &= kept;
        grant_.valid_until = sent_at + granted() - options_.lease.margin;
        if (lost) {
            ++grant_.version;
        }
    }
    next_renewal_ = sent_at + options_.lease.duration / 4;
    if (lost) {
        log_event(Severity::warning, "leases_lost",
                  {{"buckets", (held.owned & ~kept).count()}, {"held", kept.count()}});
        changed_();
    }
    return {};
}

std::expected<void, std::string> LeaseKeeper::balance(Session& session) {
    const auto census = session.execute(sql_census, Parameters());
    if (!census) {
        return std::unexpected(census.error());
    }
    const auto instances = static_cast<std::size_t>(census->int64(0, 0));
    const auto available = census->int64(0, 1);
    const std::size_t share = fair_share(instances);
    const Grant held = grant();
    const std::size_t staying = (held.owned & ~held.leaving).count();
    {
        const std::lock_guard lock(mutex_);
        status_.instances = instances;
    }
    if (staying > share) {
        const std::lock_guard lock(mutex_);
        std::size_t surplus = staying - share;
        for (std::size_t bucket = 0; bucket < bucket_count && surplus > 0; ++bucket) {
            if (grant_.owned.test(bucket) && !grant_.leaving.test(bucket)) {
                grant_.leaving.set(bucket);
                --surplus;
            }
        }
        ++grant_.version;
        log_event(Severity::info, "leases_leaving",
                  {{"buckets", grant_.leaving.count()}, {"instances", instances}});
        changed_();
        return {};
    }
    if (available == 0 || held.owned.count() >= share) {
        return {};
    }
    const auto sent_at = std::chrono::steady_clock::now();
    const auto taken = session.execute(
        sql_take, Parameters()
                      .text(instance_)
                      .int64(granted().count())
                      .int64(static_cast<std::int64_t>(share - held.owned.count())));
    if (!taken) {
        return std::unexpected(taken.error());
    }
    if (taken->rows() == 0) {
        return {};
    }
    const std::lock_guard lock(mutex_);
    for (int row = 0; row < taken->rows(); ++row) {
        const auto bucket = static_cast<std::size_t>(taken->int16(row, 0));
        grant_.owned.set(bucket);
        grant_.leaving.reset(bucket);
        grant_.epochs[bucket] = taken->int64(row, 1);
    }
    if (held.owned.none()) {
        grant_.valid_until = sent_at + granted() - options_.lease.margin;
    }
    ++grant_.version;
    log_event(
        Severity::info, "leases_taken",
        {{"buckets", taken->rows()}, {"held", grant_.owned.count()}, {"instances", instances}});
    changed_();
    return {};
}

std::expected<void, std::string> LeaseKeeper::release(Session& session, const Buckets& which) {
    if (which.none()) {
        return {};
    }
    const Grant held = grant();
    const HeldArrays arrays = arrays_of(held, which & held.owned);
    {
        // Out of the grant first: nothing may be published once the database has let go.
        const std::lock_guard lock(mutex_);
        grant_.owned &= ~which;
        grant_.leaving &= ~which;
        drained_ &= ~which;
        ++grant_.version;
    }
    changed_();
    const auto released = session.execute(
        sql_release,
        Parameters().text(instance_).int16_array(arrays.buckets).int64_array(arrays.epochs));
    if (!released) {
        return std::unexpected(released.error());
    }
    log_event(Severity::info, "leases_released", {{"buckets", which.count()}});
    return {};
}

std::expected<void, std::string> LeaseKeeper::beat(Session& session) {
    if (!session.connection) {
        auto opened = Connection::open(conninfo_, options_.database.timeout, settings_);
        if (!opened) {
            return std::unexpected(opened.error().detail);
        }
        session.connection.emplace(std::move(*opened));
        next_renewal_ = {};
        // An epoch that a crash takes back would be given out a second time.
        for (const char* sql : {postgres::sql_durable_commits, sql_forget_dead}) {
            if (const auto done = session.execute(sql, Parameters()); !done) {
                return std::unexpected(done.error());
            }
        }
    }
    // Shorter than a lease: by the time the leases of a dead one end, its share is counted free.
    const auto alive = session.execute(
        sql_heartbeat, Parameters().text(instance_).int64(options_.lease.duration.count() / 2));
    if (!alive) {
        return std::unexpected(alive.error());
    }
    if (const auto renewed = renew(session); !renewed) {
        return renewed;
    }
    Buckets ready;
    {
        const std::lock_guard lock(mutex_);
        ready = drained_ & grant_.leaving;
    }
    if (const auto released = release(session, ready); !released) {
        return released;
    }
    return balance(session);
}

void LeaseKeeper::give_everything_back(Session& session) {
    if (!session.connection) {
        return;
    }
    if (const auto released = release(session, grant().owned); !released) {
        log_event(Severity::warning, "leases_not_released", {{"message", released.error()}});
        return;
    }
    if (const auto left = session.execute(sql_leave, Parameters().text(instance_)); !left) {
        log_event(Severity::warning, "heartbeat_not_removed", {{"message", left.error()}});
    }
}

void LeaseKeeper::run() {
    Session session;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        lock.unlock();
        const auto done = beat(session);
        set_status(done.has_value(), done ? "" : done.error());
        lock.lock();
        const auto pause = done ? options_.lease.heartbeat : reconnect_pause;
        wake_.wait_for(lock, pause, [&] { return stopping_ || (drained_ & grant_.leaving).any(); });
    }
    lock.unlock();
    give_everything_back(session);
}

} // namespace concordat::relay
