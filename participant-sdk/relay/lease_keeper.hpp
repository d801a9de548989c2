// Who may publish which bucket.
//
// What: renews this instance's leases, takes free and expired ones up to its fair share, and gives
// the surplus back when another instance has joined. Every change of owner raises the bucket's
// epoch; the relay's DELETE names the epoch, so an instance that lost a bucket deletes nothing.
// Why leases and not SKIP LOCKED: rows of one key must be sent by one instance, in order.
// Clock: the database's decides who owns; this machine's steady clock only decides when to stop: a
// grant is good until the moment the renewing statement was sent, plus the duration, less the
// margin. A pause of the whole process beyond that can lead to duplicates, never to a lost row and
// never to a first delivery out of order, since the next owner sends everything that is not
// deleted.
//
// Hand-over: a bucket to be given back is `leaving`; the engine stops reading it, waits until
// nothing of it is in flight, says drained(); then it is released and the other side takes it at
// its next heartbeat.
//
// Threading: grant() and drained() from any thread; an own thread talks to the database.
// Errors: without the database the grant runs out by itself; `detail` says why.
// Source: Gray & Cheriton 1989, "Leases".
#pragma once

#include "participant-sdk/relay/options.hpp"

#include <array>
#include <bitset>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace concordat::relay {

inline constexpr std::size_t bucket_count = 64;
using Buckets = std::bitset<bucket_count>;

struct Grant {
    Buckets owned;
    Buckets leaving; // subset of owned
    std::array<std::int64_t, bucket_count> epochs{};
    std::chrono::steady_clock::time_point valid_until;
    std::uint64_t version = 0; // changes with every change of owned, leaving or epochs

    [[nodiscard]] bool covers(std::size_t bucket,
                              std::chrono::steady_clock::time_point now) const noexcept {
        return owned.test(bucket) && now < valid_until;
    }
};

// How many buckets an instance should hold when `instances` are alive.
[[nodiscard]] constexpr std::size_t fair_share(std::size_t instances) noexcept {
    return instances == 0 ? bucket_count : (bucket_count + instances - 1) / instances;
}

class LeaseKeeper {
public:
    struct Status {
        bool connected = false;
        std::size_t instances = 0;
        std::size_t owned = 0;
        std::string detail;
    };

    // `conninfo` and `settings` as for Connection::open. `changed` is called on the keeper's thread
    // when the grant has changed other than by time; it must not call back.
    LeaseKeeper(const Options& options, std::string instance, std::string conninfo,
                std::vector<std::string> settings, std::function<void()> changed);
    ~LeaseKeeper(); // stop()
    LeaseKeeper(const LeaseKeeper&) = delete;
    LeaseKeeper& operator=(const LeaseKeeper&) = delete;

    [[nodiscard]] Grant grant() const;
    [[nodiscard]] Status status() const;
    // Nothing of these leaving buckets is in flight any more.
    void drained(const Buckets& buckets);
    // Gives everything back and ends the thread. The caller has nothing in flight; if it has, the
    // next owner may send it again.
    void stop();

private:
    class Session;
    void run();
    [[nodiscard]] std::expected<void, std::string> beat(Session& session);
    [[nodiscard]] std::expected<void, std::string> renew(Session& session);
    [[nodiscard]] std::expected<void, std::string> balance(Session& session);
    [[nodiscard]] std::expected<void, std::string> release(Session& session, const Buckets& which);
    void give_everything_back(Session& session);
    void set_status(bool connected, std::string detail);
    [[nodiscard]] std::chrono::milliseconds granted() const noexcept;

    const Options& options_;
    const std::string instance_;
    const std::string conninfo_;
    const std::vector<std::string> settings_;
    const std::function<void()> changed_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    Grant grant_;
    Buckets drained_;
    Status status_;
    bool stopping_ = false;
    std::chrono::steady_clock::time_point next_renewal_{};
    std::thread thread_;
};

} // namespace concordat::relay
