#include "participant-sdk/src/transport/resolver.hpp"

#include <netdb.h>

#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

namespace concordat::transport::detail {

namespace {

constexpr std::size_t longest_queue = 1024;

Resolver::Result look_up(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (code != 0) {
        return std::unexpected("\"" + host + "\" cannot be resolved: " + gai_strerror(code));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
    std::vector<Endpoint> endpoints;
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
        Endpoint endpoint;
        if (entry->ai_addrlen <= endpoint.capacity()) {
            std::memcpy(endpoint.data(), entry->ai_addr, entry->ai_addrlen);
            endpoint.resize(entry->ai_addrlen);
            endpoints.push_back(endpoint);
        }
    }
    return endpoints;
}

} // namespace

bool Resolver::resolve(std::string host, std::uint16_t port, Callback callback) {
    const std::lock_guard lock(mutex_);
    if (stopped_ || jobs_.size() >= longest_queue) {
        return false;
    }
    jobs_.push_back({std::move(host), port, std::move(callback)});
    while (threads_.size() < thread_count_) {
        threads_.emplace_back([this]() noexcept { run(); });
    }
    changed_.notify_one();
    return true;
}

void Resolver::run() {
    for (;;) {
        Job job;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
            if (stopped_) {
                return;
            }
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        job.callback(look_up(job.host, job.port));
    }
}

void Resolver::stop() {
    std::deque<Job> dropped;
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        dropped.swap(jobs_);
    }
    changed_.notify_all();
    for (std::thread& thread : std::exchange(threads_, {})) {
        thread.join();
    }
}

} // namespace concordat::transport::detail
