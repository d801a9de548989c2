#include "coordinator/http/participant_caller.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;
using core::CallResult;

/// A participant on a real socket, and everything that was asked of it and answered to the core.
class ParticipantCallerTest : public ::testing::Test {
protected:
    void SetUp() override {
        threads_.start();
        server_ = std::make_unique<transport::Server>(
            threads_, transport::ServerOptions{},
            [this](transport::Request&& request, transport::Responder responder) {
                transport::Response response = answer_(request);
                {
                    const std::lock_guard lock(mutex_);
                    asked_.push_back(std::move(request));
                }
                responder(std::move(response));
            });
        ASSERT_TRUE(server_->start());
    }
    void TearDown() override {
        if (caller_) {
            caller_->stop();
        }
        server_->stop();
        caller_.reset();
        server_.reset();
        threads_.stop();
    }

    void make_caller(CallerOptions options) {
        caller_ = std::make_unique<ParticipantCaller>(threads_, std::move(options),
                                                      [this](std::vector<CallResult> results) {
                                                          const std::lock_guard lock(mutex_);
                                                          for (CallResult& result : results) {
                                                              results_.push_back(std::move(result));
                                                          }
                                                          arrived_.notify_all();
                                                      });
    }

    core::ParticipantCall call(const std::string& xid,
                               core::Operation operation = core::Operation::prepare) {
        core::ParticipantCall out;
        out.key = {core::Xid{xid}, core::BranchNumber{0}, operation, 1};
        out.participant = core::ParticipantName{"orders"};
        out.target.base_url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/base";
        out.epoch = core::Epoch{7};
        out.payload = std::make_shared<const std::string>("{\"n\": 1}");
        out.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        out.timeout = 5s;
        return out;
    }

    std::vector<CallResult> wait_for(std::size_t count) {
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(arrived_.wait_for(lock, 10s, [&] { return results_.size() >= count; }));
        return std::exchange(results_, {});
    }

    static transport::Response yes(bool batches) {
        transport::Response response;
        response.body = R"({"status":200,"vote":"yes"})";
        if (batches) {
            response.headers.add("Concordat-Batch", "1");
        }
        return response;
    }

    transport::IoThreads threads_{1, "test"};
    std::function<transport::Response(const transport::Request&)> answer_;
    std::unique_ptr<transport::Server> server_;
    std::unique_ptr<ParticipantCaller> caller_;
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::vector<transport::Request> asked_;
    std::vector<CallResult> results_;
};

// One call: path, body and trace are what the contract says, the vote comes back under its key.
TEST_F(ParticipantCallerTest, sends_a_call_and_reads_the_vote) {
    answer_ = [](const transport::Request&) { return yes(false); };
    make_caller({});
    caller_->call({call("x-1")});
    const auto results = wait_for(1);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].key.xid.value(), "x-1");
    EXPECT_TRUE(std::holds_alternative<CallResult::Voted>(results[0].answer));
    ASSERT_EQ(asked_.size(), 1U);
    EXPECT_EQ(asked_[0].target, "/base/v1/branches/x-1/0/prepare");
    EXPECT_NE(asked_[0].body.find(R"("payload":{"n": 1})"), std::string::npos) << asked_[0].body;
    EXPECT_TRUE(asked_[0].headers.find("traceparent"));
}

// Calls of one turn travel together once the participant has said that it takes batches.
TEST_F(ParticipantCallerTest, batches_after_the_participant_offered_it) {
    answer_ = [](const transport::Request& request) {
        transport::Response response = yes(true);
        if (request.target.ends_with(":batch")) {
            response.body = R"({"answers":[{"status":200,"vote":"no"},{"status":200}]})";
        }
        return response;
    };
    make_caller({});
    caller_->call({call("x-1"), call("x-2")});
    static_cast<void>(wait_for(2));
    EXPECT_EQ(asked_.size(), 2U) << "nothing was offered yet";
    caller_->call({call("x-3"), call("x-4", core::Operation::commit)});
    const auto results = wait_for(2);
    ASSERT_EQ(asked_.size(), 3U);
    EXPECT_EQ(asked_[2].target, "/base/v1/branches:batch");
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(results[0].key.xid.value(), "x-3");
    EXPECT_TRUE(std::holds_alternative<CallResult::Voted>(results[0].answer));
    EXPECT_TRUE(std::holds_alternative<CallResult::Done>(results[1].answer));
    EXPECT_EQ(caller_->figures().batched_operations, 2U);
}

// A batch never outgrows what participants take as a body.
TEST_F(ParticipantCallerTest, splits_batches_by_payload) {
    answer_ = [](const transport::Request&) { return yes(true); };
    CallerOptions options;
    options.max_batch_payload_bytes = 10; // one payload has 8
    make_caller(options);
    caller_->call({call("x-1")});
    static_cast<void>(wait_for(1));
    caller_->call({call("x-2"), call("x-3")});
    static_cast<void>(wait_for(2));
    EXPECT_EQ(caller_->figures().batched_operations, 0U);
}

// A participant that only fails is left alone for a while.
TEST_F(ParticipantCallerTest, holds_calls_back_after_failures) {
    answer_ = [](const transport::Request&) {
        transport::Response response;
        response.status = 500;
        return response;
    };
    CallerOptions options;
    options.breaker_failures = 2;
    options.breaker_open = 1h;
    make_caller(options);
    for (const char* xid : {"x-1", "x-2", "x-3"}) {
        caller_->call({call(xid)});
        const auto results = wait_for(1);
        ASSERT_EQ(results.size(), 1U);
        EXPECT_TRUE(std::holds_alternative<CallResult::Unknown>(results[0].answer));
    }
    EXPECT_EQ(asked_.size(), 2U);
    EXPECT_EQ(caller_->figures().breaker_rejections, 1U);
}

// An address outside the allowed networks is never connected to.
TEST_F(ParticipantCallerTest, calls_only_allowed_networks) {
    answer_ = [](const transport::Request&) { return yes(false); };
    for (const char* networks : {"10.0.0.0/8", "nonsense"}) {
        CallerOptions options;
        options.allowed_networks = {networks};
        make_caller(options);
        caller_->call({call("x-1")});
        const auto results = wait_for(1);
        ASSERT_EQ(results.size(), 1U);
        EXPECT_TRUE(std::holds_alternative<CallResult::Unknown>(results[0].answer));
        EXPECT_TRUE(asked_.empty());
        caller_->stop();
    }
}

// Every call gets its result, also when the registered URL cannot be used.
TEST_F(ParticipantCallerTest, answers_for_unusable_urls) {
    make_caller({});
    auto bad = call("x-1");
    bad.target.base_url = "nonsense";
    caller_->call({bad});
    EXPECT_EQ(wait_for(1).size(), 1U);
}

// A one-phase commit that was never sent is not unknown: its transaction can still be aborted.
TEST_F(ParticipantCallerTest, tells_unsent_one_phase_commits_from_unknown_ones) {
    make_caller({});
    auto unsent = call("x-1", core::Operation::commit_one_phase);
    unsent.target.base_url = "http://127.0.0.1:1";
    caller_->call({unsent});
    const auto results = wait_for(1);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_TRUE(std::holds_alternative<CallResult::Later>(results[0].answer));
}

// After stop() nothing reaches the core any more.
TEST_F(ParticipantCallerTest, is_silent_after_stop) {
    answer_ = [](const transport::Request&) { return yes(false); };
    make_caller({});
    caller_->stop();
    caller_->call({call("x-1")});
    caller_.reset();
    EXPECT_TRUE(results_.empty());
}

} // namespace
} // namespace concordat::http
