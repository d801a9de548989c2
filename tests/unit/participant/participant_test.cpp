#include "participant-sdk/src/participant/outbound.hpp"
#include "tests/unit/participant/memory_resource.hpp"

#include <concordat/participant.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <future>
#include <thread>

namespace concordat {
namespace {

using nlohmann::json;
using testing::MemoryResource;

class ParticipantTest : public ::testing::Test {
protected:
    HttpResponse post(const std::string& operation, json body = json::object(),
                      const std::string& xid = "x") {
        body.update({{"operation", operation}, {"epoch", 1}, {"attempt", 1}});
        return participant.handle(
            {"POST", "/v1/branches/" + xid + "/0/" + operation, {}, body.dump()});
    }
    static json body_of(const HttpResponse& response) { return json::parse(response.body); }

    std::vector<Alarm> alarms;
    std::shared_ptr<MemoryResource> store = std::make_shared<MemoryResource>();
    Participant participant{
        store, {.workers = 2, .max_queued = 64, .recovery = {}, .on_alarm = [this](const Alarm& a) {
                    alarms.push_back(a);
                }}};
};

// Purpose: a branch must go through both phases over the contract, with repetitions.
TEST_F(ParticipantTest, serves_prepare_and_commit_idempotently) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        EXPECT_EQ(body_of(post("prepare")).at("vote"), "yes");
    }
    for (int attempt = 0; attempt < 2; ++attempt) {
        EXPECT_EQ(post("commit").status, 200);
    }
    EXPECT_EQ(store->branches.begin()->second.prepared_times, 1);
    EXPECT_EQ(participant.figures().committed, 2U);
}

// Purpose: each kind of failure must have its own status, so that the coordinator knows what to do.
TEST_F(ParticipantTest, maps_failures_to_statuses) {
    store->fail_next = NotDone{NotDone::Kind::later, "busy", {}, std::chrono::milliseconds(50)};
    const HttpResponse later = post("prepare");
    EXPECT_EQ(later.status, 503);
    EXPECT_EQ(body_of(later).at("retry_after_ms"), 50);
    store->fail_next = NotDone{NotDone::Kind::unknown, "lost", {}, {}};
    EXPECT_EQ(post("prepare").status, 500);
    store->fail_next = NotDone{NotDone::Kind::refused, "epoch", {}, {}};
    EXPECT_EQ(post("prepare").status, 409);
}

// Purpose: commit of a branch that is not there is never a success and raises an alarm.
TEST_F(ParticipantTest, raises_alarms_for_refused_second_phases) {
    EXPECT_EQ(post("commit").status, 409);
    EXPECT_EQ(post("abort", {}, "y").status, 200);
    EXPECT_EQ(post("commit", {}, "y").status, 409);
    ASSERT_EQ(alarms.size(), 2U);
    EXPECT_EQ(alarms[0].kind, Alarm::Kind::prepared_branch_lost);
    EXPECT_EQ(alarms[1].kind, Alarm::Kind::heuristic_outcome);
}

// Purpose: requests outside the contract must be refused before they reach the store.
TEST_F(ParticipantTest, refuses_requests_outside_the_contract) {
    EXPECT_EQ(participant.handle({"POST", "/v1/branches/x/0/prepare", {}, "{}"}).status, 400);
    EXPECT_EQ(participant.handle({"GET", "/v1/branches/x/0/prepare", {}, ""}).status, 405);
    EXPECT_EQ(participant.handle({"POST", "/v1/other", {}, ""}).status, 404);
    const std::string commit = R"({"operation":"commit","epoch":1,"attempt":1})";
    EXPECT_EQ(participant.handle({"POST", "/v1/branches/x/0/prepare", {}, commit}).status, 400);
    EXPECT_TRUE(store->branches.empty());
}

// Purpose: an operation that is dropped from a batch, because no worker was free, is told so and
// never run; one that runs is not called dropped: its effect is unknown until it is repeated.
TEST(ParticipantBatch, never_runs_what_it_said_it_would_not) {
    const auto store = std::make_shared<MemoryResource>();
    std::promise<void> release;
    store->before_prepare = [gate = release.get_future().share()](const BranchKey&) {
        gate.wait();
    };
    Participant busy(store, {.workers = 1,
                             .max_queued = 64,
                             .batch_patience = std::chrono::milliseconds(1),
                             .recovery = {},
                             .on_alarm = {}});
    json operations = json::array();
    for (const char* xid : {"runs", "dropped"}) {
        operations.push_back(
            {{"xid", xid}, {"branch", 0}, {"operation", "prepare"}, {"epoch", 1}, {"attempt", 1}});
    }
    const HttpResponse response =
        busy.handle({"POST", "/v1/branches:batch", {}, json{{"operations", operations}}.dump()});
    const json answers = json::parse(response.body).at("answers");
    EXPECT_EQ(answers[0].at("reason"), "still running");
    EXPECT_EQ(answers[1].at("reason"), "no worker was free in time");
    EXPECT_EQ(answers[1].at("status"), 503);
    release.set_value();
    busy.stop();
    ASSERT_EQ(store->branches.size(), 1U);
    EXPECT_EQ(store->branches.begin()->first.xid.value(), "runs");
}

// Purpose: the operations of a batch are answered one by one, in order.
TEST_F(ParticipantTest, answers_batches_in_order) {
    const auto operation = [](const char* xid, const char* name) {
        return json{{"xid", xid}, {"branch", 0}, {"operation", name}, {"epoch", 1}, {"attempt", 1}};
    };
    const json batch = {
        {"operations",
         {operation("a", "prepare"), operation("b", "commit"), operation("c", "abort")}}};
    const HttpResponse response =
        participant.handle({"POST", "/v1/branches:batch", {}, batch.dump()});
    ASSERT_EQ(response.status, 200);
    const json answers = body_of(response).at("answers");
    ASSERT_EQ(answers.size(), 3U);
    EXPECT_EQ(answers[0].at("vote"), "yes");
    EXPECT_EQ(answers[1].at("status"), 409);
    EXPECT_EQ(answers[2].at("outcome"), "aborted");
    EXPECT_EQ(participant.handle({"POST", "/v1/branches:batch", {}, R"({"operations":[]})"}).status,
              200);
}

// Purpose: peers need the capability of the transaction for ballots and for the state.
TEST_F(ParticipantTest, asks_peers_for_the_capability) {
    post("prepare", {{"capability", "secret"}});
    const auto ballot = [this](const char* capability) {
        const json body = {{"ballot", {{"round", 1}, {"proposer", 2}}}, {"capability", capability}};
        return participant.handle({"POST", "/v1/branches/x/0/ballots/promise", {}, body.dump()});
    };
    EXPECT_EQ(ballot("guess").status, 403);
    EXPECT_EQ(body_of(ballot("secret")).at("granted"), true);
    const auto state = [this](const char* capability) {
        return participant.handle(
            {"GET", "/v1/branches/x/0", {{"concordat-capability", capability}}, ""});
    };
    EXPECT_EQ(state("guess").status, 403);
    EXPECT_EQ(body_of(state("secret")).at("state"), "prepared");
}

// Purpose: an alarm handler that throws must not take the participant down.
TEST(Participant, survives_an_alarm_handler_that_throws) {
    Participant participant(std::make_shared<MemoryResource>(),
                            {.recovery = {}, .on_alarm = [](const Alarm&) { throw 1; }});
    const std::string commit = R"({"operation":"commit","epoch":1,"attempt":1})";
    EXPECT_EQ(participant.handle({"POST", "/v1/branches/x/0/commit", {}, commit}).status, 409);
}

// Purpose: beyond its queue a participant must say "later" at once instead of piling up work.
TEST(Participant, answers_later_when_its_queue_is_full) {
    auto store = std::make_shared<MemoryResource>();
    Participant participant(store, {.workers = 1, .max_queued = 1, .recovery = {}, .on_alarm = {}});
    std::unique_lock blocked(store->mutex);
    std::mutex mutex;
    std::vector<int> statuses;
    const std::string prepare = R"({"operation":"prepare","epoch":1,"attempt":1})";
    for (int number = 0; number < 8; ++number) {
        participant.handle_async(
            {"POST", "/v1/branches/x" + std::to_string(number) + "/0/prepare", {}, prepare},
            [&](const HttpResponse& response) {
                const std::lock_guard lock(mutex);
                statuses.push_back(response.status);
            });
    }
    {
        const std::lock_guard lock(mutex);
        EXPECT_GE(statuses.size(), 6U); // one runs, one waits, the rest was turned away at once
        for (const int status : statuses) {
            EXPECT_EQ(status, 503);
        }
    }
    blocked.unlock();
    participant.stop();
    EXPECT_EQ(statuses.size(), 8U);
    EXPECT_EQ(participant.figures().overloaded, 8U - participant.figures().votes_yes);
}

// Purpose: over real sockets, the participant, the service's own routes and probes share a server.
TEST(ParticipantServer, serves_branches_and_the_services_routes) {
    Participant participant(std::make_shared<MemoryResource>(), {});
    ParticipantServerOptions options;
    options.service = [](const HttpRequest& request) -> HttpResponse {
        if (request.target == "/throws") {
            throw std::runtime_error("broken");
        }
        return {.status = 200, .headers = {}, .body = "{\"own\":true}"};
    };
    ParticipantServer server(participant, options);
    ASSERT_TRUE(server.start());
    const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
    const std::string commit = R"({"operation":"commit","epoch":1,"attempt":1})";
    const auto replies = participant::make_http_outbound()->exchange(
        {{url, "GET", "/own", {}, ""},
         {url, "GET", "/throws", {}, ""},
         {url, "GET", "/livez", {}, ""},
         {url, "GET", "/readyz", {}, ""},
         {url, "POST", "/v1/branches/x/0/commit", {}, commit}},
        std::chrono::seconds(10));
    std::vector<int> statuses;
    for (const auto& reply : replies) {
        ASSERT_TRUE(reply);
        statuses.push_back(reply->status);
    }
    EXPECT_EQ(statuses, (std::vector<int>{200, 500, 200, 200, 409}));
    EXPECT_EQ(replies[0]->body, "{\"own\":true}");
    server.stop();
    server.stop();
}

} // namespace
} // namespace concordat
