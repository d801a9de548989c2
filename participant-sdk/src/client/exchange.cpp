#include "participant-sdk/src/client/exchange.hpp"

#include "participant-sdk/src/client/documents.hpp"
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <future>
#include <mutex>
#include <random>
#include <thread>

namespace concordat::client {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

transport::ClientOptions transport_options(const ClientOptions& options) {
    transport::ClientOptions transport;
    transport.max_connections_per_origin = options.max_connections;
    transport.connect_timeout = options.connect_timeout;
    transport.response_body_limit_bytes = 4UL << 20;
    return transport;
}

// Doubles per round over the nodes; full jitter keeps clients that failed together apart.
class Backoff {
public:
    Backoff(milliseconds initial, milliseconds cap) : next_(initial), cap_(cap) {}
    void wait(milliseconds at_least, Clock::time_point deadline) {
        static thread_local std::minstd_rand random{std::random_device{}()};
        std::uniform_int_distribution<std::int64_t> jitter(
            0, std::max<std::int64_t>(1, next_.count()));
        const milliseconds delay = std::max(at_least, milliseconds(jitter(random)));
        std::this_thread::sleep_until(std::min(deadline, Clock::now() + delay));
        next_ = std::min(cap_, next_ * 2);
    }

private:
    milliseconds next_;
    milliseconds cap_;
};

milliseconds retry_after(const transport::Response& response, milliseconds cap) {
    const auto text = response.headers.find("Retry-After");
    std::int64_t seconds = 0;
    if (text) {
        std::from_chars(text->data(), text->data() + text->size(), seconds);
    }
    return std::clamp(milliseconds(seconds * 1000), milliseconds(0), cap);
}

} // namespace

class Exchange::Impl {
public:
    explicit Impl(const ClientOptions& options)
        : options_(options),
          threads_(1, "concordat-cli"),
          client_(threads_, transport_options(options)) {
        for (const std::string& url : options.coordinators) {
            if (auto parsed = transport::parse_base_url(url)) {
                nodes_.push_back(std::move(*parsed));
            } else {
                problem_ = "the coordinator URL " + url + " is not usable: " + parsed.error();
            }
        }
        if (nodes_.empty() && problem_.empty()) {
            problem_ = "no coordinator is configured";
        }
        threads_.start();
    }

    ~Impl() {
        client_.stop();
        threads_.stop();
    }

    ClientResult<Answer> run(const Call& call, Clock::time_point deadline) {
        if (!problem_.empty()) {
            return std::unexpected(
                ClientError{"invalid-request", problem_, Effect::none, false, 0, call.xid});
        }
        bool may_have_had_effect = false;
        Backoff backoff(options_.backoff_initial, options_.backoff_cap);
        ClientError last{"unreachable", "no coordinator answered", Effect::none, true, 0, call.xid};
        for (std::size_t attempt = 1;; ++attempt) {
            const std::size_t node = preferred_.load() % nodes_.size();
            milliseconds pause{0};
            auto result = send(node, call, deadline);
            if (result) {
                if (result->status >= 200 && result->status < 300) {
                    return Answer{result->status, std::move(result->body)};
                }
                last = read_problem(result->status, result->body);
                pause = retry_after(*result, options_.backoff_cap);
                if (!last.retryable) {
                    return std::unexpected(finished(std::move(last), call, may_have_had_effect));
                }
            } else {
                last.code = "unreachable";
                last.http_status = 0;
                last.detail = result.error().detail;
                last.retryable = true;
                last.effect = result.error().effect == transport::TransportError::Effect::none
                                  ? Effect::none
                                  : Effect::unknown;
            }
            may_have_had_effect = may_have_had_effect || last.effect != Effect::none;
            if (may_have_had_effect && !call.idempotent) {
                return std::unexpected(finished(std::move(last), call, true));
            }
            // Another node may know the leader, or be it. Whoever moved on first wins.
            std::size_t expected = node;
            preferred_.compare_exchange_strong(expected, (node + 1) % nodes_.size());
            if (attempt % nodes_.size() == 0) {
                backoff.wait(pause, deadline);
            }
            if (Clock::now() >= deadline) {
                return std::unexpected(finished(std::move(last), call, may_have_had_effect));
            }
        }
    }

private:
    static ClientError finished(ClientError error, const Call& call, bool may_have_had_effect) {
        if (may_have_had_effect && error.effect == Effect::none) {
            error.effect = Effect::unknown;
        }
        if (error.xid.empty()) {
            error.xid = call.xid;
        }
        return error;
    }

    transport::Client::Result send(std::size_t node, const Call& call, Clock::time_point deadline) {
        transport::OutboundRequest request;
        request.method = call.method;
        request.target = nodes_[node].base_path + call.target;
        request.body = call.body;
        request.idempotent = call.idempotent;
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        request.timeout = std::clamp(options_.attempt_timeout + call.held, milliseconds(1),
                                     std::max(left, milliseconds(1)));
        for (const auto& [name, value] : call.headers) {
            request.headers.add(name, value);
        }
        if (!options_.bearer_token.empty()) {
            request.headers.add("Authorization", "Bearer " + options_.bearer_token);
        }
        std::promise<transport::Client::Result> promise;
        auto result = promise.get_future();
        client_.send(
            nodes_[node].origin, std::move(request),
            [&promise](transport::Client::Result answer) { promise.set_value(std::move(answer)); });
        return result.get();
    }

    const ClientOptions options_;
    std::vector<transport::BaseUrl> nodes_;
    std::string problem_;
    std::atomic<std::size_t> preferred_{0};
    transport::IoThreads threads_;
    transport::Client client_;
};

Exchange::Exchange(const ClientOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Exchange::~Exchange() = default;

ClientResult<Answer> Exchange::run(const Call& call,
                                   std::chrono::steady_clock::time_point deadline) {
    return impl_->run(call, deadline);
}

} // namespace concordat::client
