#include "participant-sdk/relay/connector.hpp"

#include <utility>

namespace concordat::relay {

Connector::Connector(std::string conninfo, std::chrono::milliseconds timeout,
                     std::vector<std::string> settings, std::function<void()> done)
    : conninfo_(std::move(conninfo)),
      timeout_(timeout),
      settings_(std::move(settings)),
      done_(std::move(done)) {
    thread_ = std::thread([this] { run(); });
}

Connector::~Connector() {
    stop();
}

void Connector::open(Wanted wanted) {
    busy_ = true;
    {
        const std::lock_guard lock(mutex_);
        wanted_ = wanted;
    }
    wake_.notify_one();
}

std::optional<Connector::Opened> Connector::take() {
    const std::lock_guard lock(mutex_);
    busy_ = busy_ && !opened_;
    return std::exchange(opened_, std::nullopt);
}

void Connector::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void Connector::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || wanted_; });
        if (stopping_) {
            return;
        }
        const Wanted wanted = *std::exchange(wanted_, std::nullopt);
        lock.unlock();
        Opened opened = attempt(wanted);
        lock.lock();
        opened_ = std::move(opened);
        lock.unlock();
        done_();
        lock.lock();
    }
}

Connector::Opened Connector::attempt(Wanted wanted) const {
    std::vector<std::string> reading = settings_;
    // The statements are made for the primary key; an empty table's statistics must not talk the
    // planner out of it. Plain index scans also mark dead entries, which bitmap scans do not.
    reading.insert(reading.end(), {"enable_seqscan = off", "enable_bitmapscan = off",
                                   "plan_cache_mode = force_generic_plan", "jit = off",
                                   "max_parallel_workers_per_gather = 0"});
    // A crash of the database may undo a DELETE, and the rows are sent again: cheaper than waiting
    // for the disk once per batch.
    std::vector<std::string> deleting = reading;
    deleting.emplace_back("synchronous_commit = off");

    Opened opened;
    const auto open = [&](bool is_wanted, std::optional<Connection>& connection,
                          const std::vector<std::string>& settings) {
        if (!is_wanted || !opened.trouble.empty()) {
            return;
        }
        if (auto made = Connection::open(conninfo_, timeout_, settings); made) {
            connection.emplace(std::move(*made));
        } else {
            opened.trouble = made.error().detail;
        }
    };
    open(wanted.reader, opened.reader, reading);
    if (opened.reader) {
        const auto listening = opened.reader->execute("LISTEN concordat_outbox", Parameters());
        if (!listening) {
            opened.trouble = listening.error().detail;
            opened.reader.reset();
        }
    }
    open(wanted.deleter, opened.deleter, deleting);
    open(wanted.sweeper, opened.sweeper, reading);
    return opened;
}

} // namespace concordat::relay
