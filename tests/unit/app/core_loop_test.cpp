#include "coordinator/app/core_loop.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

namespace concordat::app {
namespace {

using namespace std::chrono_literals;

/// A log of one node that commits every entry at once, through the executor like the real one.
class ImmediateLog final : public log::DecisionLog {
public:
    explicit ImmediateLog(CoreLoop& loop) : loop_(loop) {}

    void start() override {
        loop_.post([this] { loop_.role_changed({log::Role::leader, core::NodeId{1}}); });
    }
    std::expected<void, log::AppendError> append(std::span<const core::Command> commands) override {
        if (to_refuse_ > 0) {
            --to_refuse_;
            ++refusals_;
            return std::unexpected(log::AppendError::overloaded);
        }
        ++entries_;
        std::vector<core::Command> copy(commands.begin(), commands.end());
        loop_.post([this, index = core::LogIndex{entries_}, copy = std::move(copy)]() mutable {
            loop_.apply(index, std::move(copy));
        });
        return {};
    }
    core::Instant tick(core::Instant now) override { return now + 1h; }
    void transfer_leadership(std::optional<core::NodeId>) override {}
    [[nodiscard]] log::Status status() const override { return {}; }
    void stop() override {}

    void refuse_appends(std::uint64_t times) { to_refuse_ = times; }
    [[nodiscard]] std::uint64_t refusals() const { return refusals_; }
    [[nodiscard]] std::uint64_t entries() const { return entries_; }

private:
    CoreLoop& loop_;
    std::uint64_t entries_ = 0;
    std::uint64_t to_refuse_ = 0;
    std::uint64_t refusals_ = 0;
};

class QuietObserver final : public CoreObserver {
public:
    void send(std::vector<core::ParticipantCall>) override {}
    void publish(const log::Status&, const core::CoordinatorFigures&, const core::ReplicatedState&,
                 bool serving) override {
        if (serving && !announced_) {
            announced_ = true;
            serving_.set_value();
        }
    }
    void applied(core::LogIndex, const core::Command&) override {}
    [[nodiscard]] bool wants_applied() const override { return false; }

    void wait_until_serving() {
        ASSERT_EQ(serving_.get_future().wait_for(30s), std::future_status::ready);
    }

private:
    std::promise<void> serving_;
    bool announced_ = false;
};

core::PutParticipantRequest put(const std::string& name) {
    core::ParticipantDefinition definition;
    definition.base_url = "http://127.0.0.1:1";
    return {core::ParticipantName{name}, definition, "test"};
}

class CoreLoopTest : public testing::Test {
protected:
    void serve(std::size_t limit) {
        core::CoordinatorOptions options;
        options.node = core::NodeId{1};
        loop_ = std::make_unique<CoreLoop>(options, limit, observer_);
        log_ = std::make_unique<ImmediateLog>(*loop_);
    }
    std::future<core::Reply> ask(core::ClientRequest request) {
        auto promise = std::make_shared<std::promise<core::Reply>>();
        auto answer = promise->get_future();
        const auto token = loop_->submit(std::move(request), [promise](core::Reply reply) {
            promise->set_value(std::move(reply));
        });
        if (!token) {
            promise->set_value(core::Rejected{core::RejectCode::overloaded, "", {}, {}, {}});
        }
        return answer;
    }

    QuietObserver observer_;
    std::unique_ptr<CoreLoop> loop_;
    std::unique_ptr<ImmediateLog> log_;
};

TEST_F(CoreLoopTest, answers_only_after_the_log_committed) {
    // Purpose: a request travels queue -> core -> log -> apply -> reply.
    serve(100);
    loop_->start(*log_);
    observer_.wait_until_serving();
    auto answer = ask(put("inventory"));
    ASSERT_EQ(answer.wait_for(30s), std::future_status::ready);
    EXPECT_FALSE(std::holds_alternative<core::Rejected>(answer.get()));
    auto listed = ask(core::ListParticipantsRequest{});
    ASSERT_EQ(listed.wait_for(30s), std::future_status::ready);
    const auto reply = listed.get();
    const auto* participants = std::get_if<core::ParticipantsReply>(&reply);
    ASSERT_NE(participants, nullptr);
    ASSERT_EQ(participants->items.size(), 1U);
    EXPECT_EQ(participants->items[0].first.value(), "inventory");
    loop_->stop();
}

TEST_F(CoreLoopTest, refuses_requests_beyond_the_queue_limit) {
    // Purpose: an overloaded core is a refusal, never an unbounded buffer.
    serve(2);
    auto first = ask(put("a")); // the loop does not run yet: both wait in the queue
    auto second = ask(put("b"));
    const auto third = ask(put("c")).get();
    ASSERT_TRUE(std::holds_alternative<core::Rejected>(third));
    EXPECT_EQ(std::get<core::Rejected>(third).code, core::RejectCode::overloaded);
    EXPECT_EQ(loop_->rejected_requests(), 1U);
    loop_->start(*log_);
    EXPECT_EQ(first.wait_for(30s), std::future_status::ready);
    EXPECT_EQ(second.wait_for(30s), std::future_status::ready);
    loop_->stop();
}

TEST_F(CoreLoopTest, appends_again_what_the_log_refused) {
    // Purpose: a log that is full for a moment delays a request, it neither loses nor repeats it.
    serve(100);
    loop_->start(*log_);
    observer_.wait_until_serving();
    const auto before = log_->entries();
    loop_->post([this] { log_->refuse_appends(3); });
    auto answer = ask(put("inventory"));
    ASSERT_EQ(answer.wait_for(30s), std::future_status::ready);
    EXPECT_FALSE(std::holds_alternative<core::Rejected>(answer.get()));
    loop_->stop();
    EXPECT_EQ(log_->refusals(), 3U);
    EXPECT_EQ(log_->entries(), before + 1);
}

TEST_F(CoreLoopTest, packs_everything_that_waits_into_one_entry) {
    // Purpose: group commit: one log entry per turn however many requests arrived.
    serve(1000);
    std::promise<void> gate;
    loop_->start(*log_);
    observer_.wait_until_serving();
    loop_->post([wait = gate.get_future().share()] { wait.wait(); });
    std::vector<std::future<core::Reply>> answers;
    for (int i = 0; i < 100; ++i) {
        answers.push_back(ask(put("p" + std::to_string(i))));
    }
    gate.set_value();
    for (auto& answer : answers) {
        ASSERT_EQ(answer.wait_for(30s), std::future_status::ready);
    }
    loop_->stop();
    // The epoch entry, then one entry, or two when the gate opened between two turns.
    EXPECT_LE(log_->entries(), 3U);
}

} // namespace
} // namespace concordat::app
