#include "coordinator/http/api.hpp"
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <mutex>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

/// A core that does what the test says.
class FakeGateway final : public Gateway {
public:
    std::optional<core::RequestToken> submit(core::ClientRequest request,
                                             ReplyHandler handler) override {
        if (full) {
            return std::nullopt;
        }
        if (reply) {
            handler(reply(request));
        } else {
            const std::lock_guard lock(mutex_);
            unanswered_.push_back(std::move(handler));
        }
        return core::RequestToken{1};
    }
    void forget(core::RequestToken) override {}
    [[nodiscard]] ClusterView cluster() const override { return view; }
    [[nodiscard]] std::string metrics() const override { return "concordat_fake 1\n"; }
    bool transfer_leadership(std::optional<core::NodeId>, std::string, std::string,
                             std::string& why_not) override {
        why_not = "because";
        return false;
    }
    void drain() override { drained = true; }
    std::uint64_t subscribe(std::function<void(const std::string&)> sink) override {
        const std::lock_guard lock(mutex_);
        sink_ = std::move(sink);
        ++subscriptions;
        return 1;
    }
    void unsubscribe(std::uint64_t) override { --subscriptions; }

    std::atomic<bool> full{false};
    std::atomic<bool> drained{false};
    std::atomic<int> subscriptions{0};
    std::function<core::Reply(const core::ClientRequest&)> reply;
    ClusterView view;

private:
    std::mutex mutex_;
    std::vector<ReplyHandler> unanswered_;
    std::function<void(const std::string&)> sink_;
};

/// One node of the API: a fake core behind a real server.
struct Node {
    Node(transport::IoThreads& threads, ApiOptions options)
        : api(gateway, std::move(options), threads),
          server(
              threads, transport::ServerOptions{},
              [this](transport::Request&& request, transport::Responder responder) {
                  api.handle(std::move(request), std::move(responder));
              },
              problem_for) {
        EXPECT_TRUE(server.start());
    }
    ~Node() { server.stop(); }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    [[nodiscard]] std::string url() const {
        return "http://127.0.0.1:" + std::to_string(server.port());
    }

    FakeGateway gateway;
    Api api;
    transport::Server server;
};

class ApiTest : public ::testing::Test {
protected:
    void SetUp() override { threads_.start(); }
    void TearDown() override {
        client_.stop();
        node_.reset();
        leader_.reset();
        threads_.stop();
    }
    FakeGateway& make_node(ApiOptions options = {}) {
        node_ = std::make_unique<Node>(threads_, std::move(options));
        node_->gateway.view.self = core::NodeId{1};
        node_->gateway.view.role = "leader";
        node_->gateway.view.replayed = true;
        return node_->gateway;
    }
    /// The node follows a leader at that URL.
    void follow(const std::string& leader_url) {
        ClusterView& view = node_->gateway.view;
        view.role = "follower";
        view.leader = core::NodeId{2};
        view.nodes = {{core::NodeId{1}, node_->url(), "", true, false, std::nullopt},
                      {core::NodeId{2}, leader_url, "", false, true, std::nullopt}};
        node_->gateway.reply = [](const core::ClientRequest&) -> core::Reply {
            core::Rejected rejected;
            rejected.code = core::RejectCode::no_leader;
            rejected.leader = core::NodeId{2};
            return rejected;
        };
    }

    transport::Client::Result exchange(const std::string& method, const std::string& target,
                                       const std::string& body = {},
                                       const transport::Headers& headers = {}) {
        transport::OutboundRequest request;
        request.method = method;
        request.target = target;
        request.body = body;
        request.headers = headers;
        request.idempotent = false;
        const auto promise = std::make_shared<std::promise<transport::Client::Result>>();
        auto future = promise->get_future();
        client_.send(
            {false, "127.0.0.1", node_->server.port()}, std::move(request),
            [promise](transport::Client::Result result) { promise->set_value(std::move(result)); });
        return future.get();
    }
    /// The status and the code of the problem in the answer.
    std::string outcome(const std::string& method, const std::string& target,
                        const std::string& body = {}, const transport::Headers& headers = {}) {
        const auto result = exchange(method, target, body, headers);
        if (!result) {
            return "no answer: " + result.error().detail;
        }
        const std::size_t begin = result->body.find("\"code\":\"");
        const std::string code =
            begin == std::string::npos
                ? ""
                : result->body.substr(begin + 8, result->body.find('"', begin + 8) - begin - 8);
        return std::to_string(result->status) + " " + code;
    }

    static constexpr const char* submission = R"({"branches":[{"participant":"a","payload":1}]})";

    transport::IoThreads threads_{2, "test"};
    transport::Client client_{threads_, {}};
    std::unique_ptr<Node> leader_;
    std::unique_ptr<Node> node_;
};

// A full queue is a 503 at once, with Retry-After, never a request that waits.
TEST_F(ApiTest, refuses_when_the_core_is_full) {
    make_node().full = true;
    const auto result = exchange("POST", "/v1/transactions", submission);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 503);
    EXPECT_TRUE(result->headers.contains("Retry-After"));
    EXPECT_NE(result->body.find("\"overloaded\""), std::string::npos);
}

// What the core says reaches the client with its effect.
TEST_F(ApiTest, tells_lost_leadership_as_unknown_outcome) {
    make_node().reply = [](const core::ClientRequest&) -> core::Reply {
        core::Rejected rejected;
        rejected.code = core::RejectCode::outcome_unknown;
        return rejected;
    };
    EXPECT_EQ(outcome("PUT", "/v1/transactions/x", submission), "504 outcome-unknown");
}

// A reply of the wrong kind is this process's fault, not a success.
TEST_F(ApiTest, answers_500_to_a_reply_of_another_kind) {
    make_node().reply = [](const core::ClientRequest&) -> core::Reply {
        return core::Acknowledged{};
    };
    EXPECT_EQ(outcome("GET", "/v1/transactions/x"), "500 internal-error");
}

// A follower hands a request to the leader with everything that matters, and marks it.
TEST_F(ApiTest, forwards_to_the_leader) {
    leader_ = std::make_unique<Node>(threads_, ApiOptions{});
    std::string key;
    leader_->gateway.reply = [&key](const core::ClientRequest& request) -> core::Reply {
        key = std::get<core::BeginRequest>(request).idempotency_key;
        core::TransactionReply reply;
        reply.view.xid = core::Xid{"x-1"};
        reply.view.state = core::TransactionState::committing;
        reply.created = true;
        return reply;
    };
    make_node();
    follow(leader_->url());
    transport::Headers headers;
    headers.add("Idempotency-Key", "k-1");
    const auto result = exchange("POST", "/v1/transactions", submission, headers);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 200) << result->body;
    EXPECT_EQ(key, "k-1");
    EXPECT_TRUE(result->headers.contains("ETag"));
}

// Two nodes that take each other for the leader do not send a request in circles.
TEST_F(ApiTest, forwards_one_hop_only) {
    leader_ = std::make_unique<Node>(threads_, ApiOptions{});
    make_node();
    follow(leader_->url());
    leader_->gateway.view = node_->gateway.view;
    leader_->gateway.view.self = core::NodeId{2};
    leader_->gateway.view.leader = core::NodeId{1};
    leader_->gateway.reply = [](const core::ClientRequest&) -> core::Reply {
        core::Rejected rejected;
        rejected.code = core::RejectCode::no_leader;
        rejected.leader = core::NodeId{1};
        return rejected;
    };
    EXPECT_EQ(outcome("POST", "/v1/transactions", submission), "503 no-leader");
}

// A follower hands a ballot to the leader: the group is one acceptor, whichever node is asked.
TEST_F(ApiTest, forwards_ballots_to_the_leader) {
    leader_ = std::make_unique<Node>(threads_, ApiOptions{});
    leader_->gateway.reply = [](const core::ClientRequest& request) -> core::Reply {
        const auto& accept = std::get<core::AcceptRequest>(request);
        core::BallotReply reply;
        reply.xid = accept.xid;
        reply.granted = accept.capability == "c" && accept.value == core::Outcome::committed;
        reply.promised = accept.ballot;
        reply.accepted = accept.ballot;
        reply.accepted_value = accept.value;
        return reply;
    };
    make_node();
    follow(leader_->url());
    const auto result =
        exchange("POST", "/v1/transactions/x/ballots/accept",
                 R"({"ballot":{"round":2,"proposer":1},"value":"committed","capability":"c"})");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->status, 200);
    EXPECT_EQ(result->body,
              R"({"status":200,"granted":true,"promised":{"round":2,"proposer":1},)"
              R"("accepted_ballot":{"round":2,"proposer":1},"accepted_value":"committed"})");
}

// What the group's acceptor says, and what it refuses, has the form of a participant's ballots.
TEST_F(ApiTest, answers_ballots_like_a_participant) {
    static constexpr const char* promise =
        R"({"ballot":{"round":1,"proposer":1},"capability":"c"})";
    static constexpr const char* target = "/v1/transactions/x/ballots/promise";
    FakeGateway& gateway = make_node();
    gateway.reply = [](const core::ClientRequest&) -> core::Reply {
        core::BallotReply reply;
        reply.promised = {7, 2};
        return reply;
    };
    EXPECT_EQ(exchange("POST", target, promise)->body,
              R"({"status":200,"granted":false,"promised":{"round":7,"proposer":2},)"
              R"("reason":"ballot"})");
    gateway.reply = [](const core::ClientRequest&) -> core::Reply {
        return core::InquiryReply{core::Xid{"x"}, core::Outcome::aborted};
    };
    EXPECT_EQ(exchange("POST", target, promise)->body,
              R"({"status":200,"granted":false,"promised":{"round":0,"proposer":0},)"
              R"("outcome":"aborted"})");
    gateway.reply = [](const core::ClientRequest&) -> core::Reply {
        core::Rejected rejected;
        rejected.code = core::RejectCode::outcome_unknown;
        return rejected;
    };
    EXPECT_EQ(outcome("POST", target, promise), "504 outcome-unknown");
    EXPECT_EQ(outcome("POST", target, "{}"), "400 invalid-request");
}

// Nothing was sent: no effect, try again. Something was sent and no answer came: unknown.
TEST_F(ApiTest, tells_a_dead_leader_from_a_silent_one) {
    ApiOptions impatient;
    impatient.max_wait = 50ms;
    impatient.forward_margin = 50ms;
    make_node(impatient);
    follow("http://127.0.0.1:1");
    EXPECT_EQ(outcome("POST", "/v1/transactions", submission), "503 no-leader");
    leader_ = std::make_unique<Node>(threads_, ApiOptions{}); // its core never answers
    follow(leader_->url());
    EXPECT_EQ(outcome("POST", "/v1/transactions", submission), "504 outcome-unknown");
    EXPECT_EQ(outcome("GET", "/v1/transactions/x"), "503 no-leader");
}

// Without a leader the answer says whether somebody looks for one.
TEST_F(ApiTest, says_why_there_is_no_leader) {
    FakeGateway& gateway = make_node();
    follow("");
    EXPECT_EQ(outcome("GET", "/v1/transactions/x"), "503 no-leader") << "its URL is not configured";
    gateway.reply = [](const core::ClientRequest&) -> core::Reply {
        core::Rejected rejected;
        rejected.code = core::RejectCode::no_leader;
        return rejected;
    };
    gateway.view.leader.reset();
    EXPECT_EQ(outcome("GET", "/v1/transactions/x"), "503 no-leader");
    gateway.view.role = "candidate";
    EXPECT_EQ(outcome("GET", "/v1/transactions/x"), "503 no-quorum");
}

// Ready means replayed and not draining; a leader is not asked for.
TEST_F(ApiTest, is_ready_without_a_leader) {
    FakeGateway& gateway = make_node();
    gateway.view.role = "candidate";
    EXPECT_EQ(outcome("GET", "/readyz"), "200 ");
    gateway.view.replayed = false;
    EXPECT_EQ(outcome("GET", "/readyz"), "503 not-ready");
    gateway.view.replayed = true;
    gateway.view.draining = true;
    EXPECT_EQ(outcome("GET", "/readyz"), "503 not-ready");
    EXPECT_EQ(outcome("GET", "/livez"), "200 ");
}

// Operations on the node reach it, and what it refuses is told.
TEST_F(ApiTest, passes_operations_on) {
    FakeGateway& gateway = make_node();
    gateway.view.nodes = {{core::NodeId{1}, "", "", true, true, std::nullopt}};
    EXPECT_EQ(outcome("POST", "/v1/node/drain", "{}"), "202 ");
    EXPECT_TRUE(gateway.drained);
    EXPECT_EQ(outcome("POST", "/v1/cluster/transfer", "{}"), "409 transfer-refused");
    EXPECT_EQ(outcome("POST", "/v1/cluster/transfer", R"({"to":7})"), "400 invalid-request");
}

// The number of event streams is bounded, and a closed one gives its subscription back.
TEST_F(ApiTest, bounds_event_streams) {
    ApiOptions options;
    options.max_event_streams = 0;
    FakeGateway& gateway = make_node(options);
    EXPECT_EQ(outcome("GET", "/v1/events"), "503 overloaded");
    EXPECT_EQ(gateway.subscriptions, 0);
}

} // namespace
} // namespace concordat::http
