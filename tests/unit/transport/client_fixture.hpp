// A client for tests, with a look at its errors.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "tests/unit/transport/support.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string_view>
#include <utility>

namespace concordat::transport::test {

using Kind = TransportError::Kind;
using Effect = TransportError::Effect;

inline constexpr std::string_view ok_answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class ClientTest : public testing::Test {
protected:
    ClientTest() { threads_.start(); }

    Client& client(ClientOptions options = {}) {
        return client_.emplace(threads_, std::move(options));
    }
    // One exchange with a peer that follows the script.
    Client::Result exchange(const Origin& origin, OutboundRequest request) {
        client_->send(origin, std::move(request), calls_.callback());
        return calls_.take();
    }
    static void expect_error(const Client::Result& result, Kind kind, Effect effect) {
        ASSERT_FALSE(result.has_value()) << "status " << result->status;
        EXPECT_EQ(result.error().kind, kind)
            << name(result.error().kind) << ": " << result.error().detail;
        EXPECT_EQ(result.error().effect, effect) << result.error().detail;
        EXPECT_FALSE(result.error().detail.empty());
    }

    IoThreads threads_{2, "test"};
    Calls calls_;
    std::optional<Client> client_;
};

} // namespace concordat::transport::test
