#include "participant-sdk/relay/engine.hpp"

#include "participant-sdk/relay/event_log.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds reconnect_pause{250};
constexpr std::chrono::milliseconds longest_wait{100};
constexpr std::chrono::milliseconds reset_look{5};

} // namespace

Engine::Engine(const Options& options, std::string instance, std::string conninfo,
               std::vector<std::string> settings, Telemetry& telemetry)
    : options_(options),
      instance_(std::move(instance)),
      envelope_(options.envelope),
      telemetry_(telemetry),
      wake_descriptor_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      connector_(std::move(conninfo), options.database.timeout, std::move(settings),
                 [this] { wake(); }),
      cursor_(static_cast<std::int64_t>(options.pipeline.batch_rows),
              options.pipeline.window_bytes / 4),
      read_pause_(options.pipeline.poll_min),
      batch_bytes_(options.kafka.batch_bytes) {}

Engine::~Engine() {
    // Both write to the descriptor.
    connector_.stop();
    producer_.reset();
    ::close(wake_descriptor_);
}

void Engine::attach(LeaseKeeper& leases, TopicProber& topics) noexcept {
    leases_ = &leases;
    topics_ = &topics;
}

void Engine::wake() noexcept {
    topics_changed_ = true;
    const std::uint64_t one = 1;
    // A full counter wakes as well: nothing to do about a failed write.
    [[maybe_unused]] const auto written = ::write(wake_descriptor_, &one, sizeof one);
}

void Engine::request_stop() noexcept {
    stop_requested_ = true;
    wake();
}

void Engine::set_parked(std::vector<ParkedKey> keys, std::uint64_t generation) {
    {
        const std::lock_guard lock(mailbox_mutex_);
        parked_mail_.emplace(std::move(keys), generation);
    }
    wake();
}

bool Engine::run() {
    while (!finished_stopping()) {
        turn();
        wait_for_events();
    }
    publish_telemetry();
    return !gave_up_;
}

void Engine::turn() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    wall_clock_seconds_ = static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;

    connect_if_needed();
    apply_grant();
    take_parked();
    release_topics();
    if (kafka_trouble_ && topics_->cluster_answers()) {
        clear_kafka_trouble();
    }
    if (producer_ != nullptr) {
        producer_->poll();
        watch_producer();
    }
    if (phase_ == Phase::resetting) {
        continue_reset();
    } else {
        feed_producer();
    }
    start_delete();
    start_read();
    start_sweep();
    report_drained();
    publish_telemetry();
}

void Engine::wait_for_events() {
    std::array<pollfd, 4> descriptors{};
    nfds_t count = 0;
    descriptors[count++] = {.fd = wake_descriptor_, .events = POLLIN, .revents = 0};
    for (auto* connection : {&reader_, &deleter_, &sweeper_}) {
        if (*connection) {
            const bool write = (*connection)->wants_write();
            descriptors[count++] = {.fd = (*connection)->socket(),
                                    .events = static_cast<short>(POLLIN | (write ? POLLOUT : 0)),
                                    .revents = 0};
        }
    }
    const auto now = Clock::now();
    auto until = now + longest_wait;
    if (reader_ && !reader_->busy() && !read_blocked_) {
        until = std::min(until, std::max(next_read_, now));
    }
    if (!acknowledged_.empty() && deleter_ && !deleter_->busy()) {
        until = std::min(until, std::max(next_delete_, now));
    }
    if (phase_ == Phase::resetting) {
        until = std::min(until, now + reset_look);
    }
    const auto left = std::chrono::nanoseconds(std::max(until - now, Clock::duration::zero()));
    const timespec timeout{.tv_sec = left.count() / 1'000'000'000,
                           .tv_nsec = left.count() % 1'000'000'000};
    ::ppoll(descriptors.data(), count, &timeout, nullptr);
    if (descriptors[0].revents != 0) {
        std::uint64_t drained = 0;
        [[maybe_unused]] const auto read = ::read(wake_descriptor_, &drained, sizeof drained);
    }
    const auto serve = [this](std::optional<Connection>& connection, auto&& finish) {
        if (!connection || !connection->busy()) {
            return;
        }
        auto advanced = connection->advance();
        if (!advanced) {
            connection_failed(connection, advanced.error());
        } else if (advanced->has_value()) {
            finish(std::move(**advanced));
        }
    };
    serve(reader_, [this](Result result) { finish_read(std::move(result)); });
    serve(deleter_, [this](const Result& result) { finish_delete(result); });
    serve(sweeper_, [this](const Result& result) { finish_sweep(result); });
    if (reader_ && !reader_->busy()) {
        const auto notified = reader_->take_notifications();
        if (!notified) {
            connection_failed(reader_, notified.error());
        } else if (*notified) {
            read_pause_ = options_.pipeline.poll_min;
            next_read_ = Clock::now();
        }
    }
}

void Engine::connect_if_needed() {
    if (auto opened = connector_.take()) {
        take_connections(std::move(*opened));
    }
    const Connector::Wanted missing{.reader = !reader_, .deleter = !deleter_, .sweeper = !sweeper_};
    if ((missing.reader || missing.deleter || missing.sweeper) && !connector_.busy() &&
        Clock::now() >= next_connect_) {
        connector_.open(missing);
    }
}

void Engine::take_connections(Connector::Opened opened) {
    const auto take = [](std::optional<Connection>& connection, std::optional<Connection>& made) {
        if (made) {
            connection = std::move(made);
        }
    };
    take(reader_, opened.reader);
    take(deleter_, opened.deleter);
    take(sweeper_, opened.sweeper);
    if (!reader_ || !deleter_ || !sweeper_) {
        if (!opened.trouble.empty()) { // else another one was lost meanwhile, and said why
            telemetry_.set_trouble("database", opened.trouble);
        }
        telemetry_.database_connected = false;
        next_connect_ = Clock::now() + reconnect_pause;
    } else if (!telemetry_.database_connected.exchange(true)) {
        log_event(Severity::info, "database_connected");
        telemetry_.set_trouble("database", "");
    }
}

void Engine::connection_failed(std::optional<Connection>& connection, const DatabaseError& error) {
    log_event(Severity::warning, "database_error",
              {{"message", error.detail}, {"connection_lost", error.connection_lost}});
    telemetry_.set_trouble("database", error.detail);
    telemetry_.database_connected = false;
    drop_connection_state(connection);
    connection.reset();
    next_connect_ = Clock::now() + reconnect_pause;
}

void Engine::drop_connection_state(const std::optional<Connection>& connection) {
    if (&connection == &reader_) {
        // Perhaps it crashed, or another server takes its place: what was seen counts no more.
        rewind(1);
        restart_pending_ = true;
        read_job_ = ReadJob::none;
        discard_read_ = false;
        payload_batch_ = nullptr;
        deleted_during_read_.clear();
    } else if (&connection == &deleter_) {
        // Whether it was carried out is unknown; deleting again does no harm.
        acknowledged_.insert(acknowledged_.end(), deleting_.begin(), deleting_.end());
        deleting_.clear();
    } else {
        sweep_.fail();
        deleted_during_sweep_.clear();
    }
}

void Engine::apply_grant() {
    Grant next = leases_->grant();
    const auto now = Clock::now();
    if (next.version != grant_.version) {
        bool gained = false;
        bool lost = false;
        for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
            const bool same = grant_.owned.test(bucket) && next.owned.test(bucket) &&
                              grant_.epochs[bucket] == next.epochs[bucket];
            gained = gained || (next.owned.test(bucket) && !same);
            lost = lost || (grant_.owned.test(bucket) && !same && bucket_rows_[bucket] > 0);
        }
        grant_ = std::move(next);
        look_at_set_aside_ = true; // some may have to leave
        if (lost) {
            begin_reset("leases were lost");
        }
        if (std::ranges::any_of(rows_on_trial(), [this](const Row* row) {
                return grant_.leaving.test(row->bucket);
            })) {
            begin_reset("a bucket leaves whose row tries a stalled topic");
        }
        if (gained) {
            rewind(1);
        }
    } else {
        grant_.valid_until = next.valid_until;
    }
    const bool at_kafka = producer_ != nullptr && producer_->outstanding() > 0;
    if (now >= grant_.valid_until && at_kafka && phase_ == Phase::running) {
        begin_reset("the leases could not be renewed in time");
    }
    if (lowest_dropped_ != 0 && phase_ == Phase::running && now < grant_.valid_until) {
        rewind(std::exchange(lowest_dropped_, 0));
    }
}

bool Engine::may_publish(std::size_t bucket) const {
    return grant_.covers(bucket, Clock::now()) && !grant_.leaving.test(bucket);
}

std::vector<std::int16_t> Engine::readable_buckets() const {
    std::vector<std::int16_t> out;
    if (Clock::now() >= grant_.valid_until) {
        return out;
    }
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        if (grant_.owned.test(bucket) && !grant_.leaving.test(bucket)) {
            out.push_back(static_cast<std::int16_t>(bucket));
        }
    }
    return out;
}

void Engine::report_drained() {
    if (grant_.leaving.none()) {
        return;
    }
    Buckets drained;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        if (grant_.leaving.test(bucket) && bucket_rows_[bucket] == 0) {
            drained.set(bucket);
        }
    }
    if (drained.any()) {
        leases_->drained(drained);
    }
}

bool Engine::finished_stopping() {
    if (!stop_requested_) {
        return false;
    }
    const auto now = Clock::now();
    if (stop_deadline_ == Clock::time_point{}) {
        stop_deadline_ = now + options_.shutdown_timeout;
        telemetry_.stopping = true;
        log_event(Severity::info, "stopping", {{"rows_in_memory", known_.size()}});
        if (read_job_ != ReadJob::none) {
            discard_read_ = true;
        }
        drop_all_waiting();
    }
    if (producer_ != nullptr && on_trial_ > 0 && awaited() == 0 && !trials_ended_) {
        trials_ended_ = true; // nobody knows for how long they would be waited for
        producer_->purge_queued();
    }
    const bool reported = producer_ == nullptr || producer_->outstanding() == 0;
    if (reported && acknowledged_.empty() && deleting_.empty()) {
        return true;
    }
    if (now < stop_deadline_) {
        return false;
    }
    gave_up_ = true;
    log_event(Severity::error, "stopped_before_all_was_acknowledged",
              {{"rows_at_kafka", producer_ == nullptr ? 0 : producer_->outstanding()},
               {"rows_not_deleted", acknowledged_.size() + deleting_.size()}});
    return true;
}

void Engine::publish_telemetry() {
    telemetry_.rows_in_memory = known_.size();
    telemetry_.rows_at_kafka = producer_ == nullptr ? 0 : producer_->outstanding();
    telemetry_.open_transactions = cursor_.open_transactions();
    telemetry_.position = cursor_.position();
    telemetry_.floor = cursor_.floor();
    telemetry_.producer_ready = producer_ != nullptr && phase_ == Phase::running;
}

} // namespace concordat::relay
