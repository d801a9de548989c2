#include "participant-sdk/src/participant/outbound.hpp"

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <latch>

namespace concordat::participant {

namespace {

transport::ClientOptions client_options() {
    transport::ClientOptions options;
    options.max_connections_per_origin = 16;
    options.connect_timeout = std::chrono::milliseconds(1000);
    return options;
}

class HttpOutbound final : public Outbound {
public:
    HttpOutbound() : threads_(1, "concordat-rec"), client_(threads_, client_options()) {
        threads_.start();
    }
    ~HttpOutbound() override {
        client_.stop();
        threads_.stop();
    }

    std::vector<std::optional<OutboundReply>> exchange(const std::vector<OutboundCall>& calls,
                                                       std::chrono::milliseconds timeout) override {
        std::vector<std::optional<OutboundReply>> replies(calls.size());
        std::latch open(static_cast<std::ptrdiff_t>(calls.size()));
        for (std::size_t index = 0; index < calls.size(); ++index) {
            const OutboundCall& call = calls[index];
            const auto url = transport::parse_base_url(call.base_url);
            if (!url) {
                open.count_down();
                continue;
            }
            transport::OutboundRequest request;
            request.method = call.method;
            request.target = url->base_path + call.target;
            request.body = call.body;
            request.timeout = timeout;
            for (const auto& [name, value] : call.headers) {
                request.headers.add(name, value);
            }
            client_.send(url->origin, std::move(request),
                         [&reply = replies[index], &open](transport::Client::Result result) {
                             if (result) {
                                 reply = OutboundReply{result->status, std::move(result->body)};
                             }
                             open.count_down();
                         });
        }
        open.wait();
        return replies;
    }

private:
    transport::IoThreads threads_;
    transport::Client client_;
};

} // namespace

std::unique_ptr<Outbound> make_http_outbound() {
    return std::make_unique<HttpOutbound>();
}

} // namespace concordat::participant
