#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <concordat/client.hpp>

#include <gtest/gtest.h>

#include <deque>
#include <mutex>

namespace concordat {
namespace {

using namespace std::chrono_literals;

// A node that gives scripted answers in order, the last one for ever, and keeps what it was asked.
class Node {
public:
    struct Scripted {
        int status = 200;
        std::string body;
    };

    explicit Node(std::deque<Scripted> script) : script_(std::move(script)) {
        threads_.start();
        EXPECT_TRUE(server_.start());
    }
    ~Node() {
        server_.stop();
        threads_.stop();
    }
    [[nodiscard]] std::string url() const {
        return "http://127.0.0.1:" + std::to_string(server_.port());
    }
    [[nodiscard]] std::vector<std::string> requests() {
        const std::lock_guard lock(mutex_);
        return requests_;
    }

private:
    void answer(transport::Request&& request, transport::Responder responder) {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request.method + " " + request.target);
        const Scripted next = script_.front();
        if (script_.size() > 1) {
            script_.pop_front();
        }
        transport::Response response;
        response.status = next.status;
        response.body = next.body;
        response.close = next.status == 0;
        if (next.status == 0) {
            response.status = 500; // an answer without a problem document: effect unknown
        }
        responder(std::move(response));
    }

    std::mutex mutex_;
    std::deque<Scripted> script_;
    std::vector<std::string> requests_;
    transport::IoThreads threads_{1, "node"};
    transport::Server server_{
        threads_, {}, [this](transport::Request&& request, transport::Responder responder) {
            answer(std::move(request), std::move(responder));
        }};
};

const std::string committed =
    R"({"xid":"x","state":"committing","outcome":"committed","log_index":5})";
const std::string active = R"({"xid":"x","state":"active","log_index":3})";
const std::string no_leader = R"({"code":"no-leader","effect":"none","retryable":true})";
const std::string unknown = R"({"code":"outcome-unknown","effect":"unknown","retryable":true})";

ClientOptions options_for(std::vector<std::string> urls, std::chrono::milliseconds deadline = 5s) {
    ClientOptions options;
    options.coordinators = std::move(urls);
    options.deadline = deadline;
    options.backoff_initial = 1ms;
    options.backoff_cap = 5ms;
    return options;
}

Submission submission() {
    Submission one;
    one.xid = Xid::parse("x");
    one.branches = {{"p", "{}", {}}};
    return one;
}

// Purpose: a node without a leader, and one that is not there, must only cost an attempt.
TEST(Client, fails_over_to_a_node_that_answers) {
    Node leaderless({{503, no_leader}});
    Node leader({{200, committed}});
    Client client(options_for({"http://127.0.0.1:9", leaderless.url(), leader.url()}));
    const auto done = client.submit(submission());
    ASSERT_TRUE(done) << done.error().detail;
    EXPECT_EQ(done->outcome, Outcome::committed);
    EXPECT_EQ(leaderless.requests().size(), 1U);
    ASSERT_TRUE(client.get(*Xid::parse("x")));
    EXPECT_EQ(leaderless.requests().size(), 1U) << "the node that answered is asked first";
}

// Purpose: retries of a submission must all name the same xid, or one could run twice.
TEST(Client, repeats_a_submission_under_its_first_xid) {
    Node node({{504, unknown}, {0, "gone"}, {200, committed}});
    Client client(options_for({node.url()}));
    Submission anonymous = submission();
    anonymous.xid.reset();
    ASSERT_TRUE(client.submit(anonymous));
    const auto requests = node.requests();
    ASSERT_EQ(requests.size(), 3U);
    EXPECT_EQ(requests[0], requests[1]);
    EXPECT_EQ(requests[1], requests[2]);
    EXPECT_TRUE(requests[0].starts_with("PUT /v1/transactions/"));
}

// Purpose: once an attempt may have had an effect, a later failure must not claim there was none.
TEST(Client, reports_an_unknown_effect_after_any_unknown_attempt) {
    Node node({{504, unknown}, {503, no_leader}});
    Client client(options_for({node.url()}, 200ms));
    const auto failed = client.submit(submission());
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, "no-leader");
    EXPECT_EQ(failed.error().effect, Effect::unknown);
    EXPECT_EQ(failed.error().xid, "x");
    Node never({{503, no_leader}});
    Client other(options_for({never.url()}, 100ms));
    EXPECT_EQ(other.submit(submission()).error().effect, Effect::none);
}

// Purpose: an enlistment that may have happened must not be repeated: it could enlist two branches.
TEST(Client, does_not_repeat_an_enlistment_blindly) {
    Node node({{503, no_leader}, {504, unknown}, {200, committed}});
    Client client(options_for({node.url()}));
    const auto failed = client.enlist(*Xid::parse("x"), {"p", "{}", {}});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().effect, Effect::unknown);
    EXPECT_EQ(node.requests().size(), 2U) << "refused without effect is repeated, unknown is not";
}

// Purpose: errors that a repetition cannot change must come back at once.
TEST(Client, does_not_repeat_final_errors) {
    Node node({{422, R"({"code":"xid-reused","effect":"none","retryable":false})"}});
    Client client(options_for({node.url()}));
    EXPECT_EQ(client.submit(submission()).error().code, "xid-reused");
    EXPECT_EQ(node.requests().size(), 1U);
}

// Purpose: "not decided yet" is followed by long polls until it is.
TEST(Client, waits_on_until_there_is_an_outcome) {
    Node node({{202, active}, {200, active}, {200, committed}});
    Client client(options_for({node.url()}));
    const auto done = client.submit(submission());
    ASSERT_TRUE(done);
    EXPECT_EQ(done->outcome, Outcome::committed);
    ASSERT_EQ(node.requests().size(), 3U);
    EXPECT_TRUE(node.requests()[1].starts_with("GET /v1/transactions/x?wait_index=3&wait="));
}

// Purpose: mistakes of the caller must be found before anything is sent.
TEST(Client, refuses_what_cannot_be_sent) {
    Node node({{200, committed}});
    Client client(options_for({node.url()}));
    Submission broken = submission();
    broken.branches[0].payload = "{";
    EXPECT_EQ(client.submit(broken).error().code, "invalid-request");
    EXPECT_TRUE(node.requests().empty());
    Client homeless(options_for({}));
    EXPECT_EQ(homeless.submit(submission()).error().effect, Effect::none);
    Client wrong(options_for({"ftp://x"}));
    EXPECT_EQ(wrong.submit(submission()).error().code, "invalid-request");
}

// Purpose: begin, enlist, commit, abort and registration must go to their routes.
TEST(Client, speaks_the_routes_of_the_api) {
    Node node({{200, committed}});
    Client client(options_for({node.url()}));
    const Xid xid = *Xid::parse("x");
    Submission open;
    open.xid = xid;
    EXPECT_TRUE(client.begin(open));
    EXPECT_TRUE(client.enlist(xid, {"p", "{}", {}}));
    EXPECT_TRUE(client.commit(xid));
    EXPECT_TRUE(client.abort(xid));
    EXPECT_TRUE(client.wait(xid, 1s));
    EXPECT_TRUE(
        client.register_participant(*ParticipantName::parse("p"), {.base_url = "http://p"}));
    EXPECT_EQ(
        node.requests(),
        (std::vector<std::string>{"PUT /v1/transactions/x", "POST /v1/transactions/x/branches",
                                  "POST /v1/transactions/x/commit", "POST /v1/transactions/x/abort",
                                  "GET /v1/transactions/x", "PUT /v1/participants/p"}));
}

// Purpose: random ids must be valid and must not repeat.
TEST(Xid, random_ones_are_valid_and_differ) {
    const Xid first = Xid::random();
    EXPECT_TRUE(Xid::parse(first.value()));
    EXPECT_NE(first, Xid::random());
    EXPECT_FALSE(Xid::parse(""));
    EXPECT_FALSE(Xid::parse(std::string(65, 'x')));
    EXPECT_FALSE(Xid::parse("a b"));
}

} // namespace
} // namespace concordat
