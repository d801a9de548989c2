// A server for tests, and the text of requests and answers.
#pragma once

#include "participant-sdk/src/transport/server.hpp"
#include "tests/unit/transport/support.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

namespace concordat::transport::test {

inline Response text(std::string body) {
    return {.status = 200, .headers = {}, .body = std::move(body), .content_type = "text/plain"};
}

inline std::string request(const std::string& target, const std::string& fields = "",
                           const std::string& body = "") {
    return (body.empty() ? "GET " : "POST ") + target + " HTTP/1.1\r\nHost: a\r\n" + fields +
           (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") +
           "\r\n" + body;
}

inline std::string body_of(const std::string& response) {
    const std::size_t end = response.find("\r\n\r\n");
    return end == std::string::npos ? "" : response.substr(end + 4);
}

// A server that echoes "METHOD TARGET BODY", unless a test brings its own handler.
class ServerTest : public testing::Test {
protected:
    void serve(ServerOptions options = {}, Handler handler = {}) {
        if (!handler) {
            handler = [](Request&& received, Responder respond) {
                respond(text(received.method + " " + received.target + " " + received.body));
            };
        }
        threads_.start();
        server_.emplace(threads_, std::move(options), std::move(handler),
                        [](const ProtocolError& error) {
                            return text("problem: " + std::string{error.detail});
                        });
        const auto started = server_->start();
        ASSERT_TRUE(started.has_value()) << started.error();
    }
    RawSocket connect() { return RawSocket::connect(server_->port()); }

    IoThreads threads_{2, "test"};
    std::optional<Server> server_;
};

} // namespace concordat::transport::test
