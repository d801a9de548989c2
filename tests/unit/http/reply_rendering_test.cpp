#include "coordinator/http/reply_rendering.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

core::TransactionReply reply(core::TransactionState state, bool pending = false) {
    core::TransactionReply out;
    out.view.xid = core::Xid{"x-1"};
    out.view.state = state;
    if (core::is_decided(state)) {
        out.view.outcome = core::Outcome::committed;
    }
    out.view.changed_index = core::LogIndex{9};
    out.view.branches.push_back(
        {core::ParticipantName{"orders"}, core::BranchPhase::prepared, 2, ""});
    out.pending = pending;
    return out;
}

// Never 200 for something undecided.
TEST(ReplyRendering, answers_200_only_for_decisions) {
    using enum core::TransactionState;
    const auto status = [](const core::TransactionReply& one, Awaited awaited) {
        return render_progress(one, awaited).status;
    };
    for (const auto awaited : {Awaited::opening, Awaited::decision, Awaited::completion}) {
        EXPECT_NE(status(reply(active), awaited), 200);
        EXPECT_NE(status(reply(precommitted), awaited), 200);
        EXPECT_NE(status(reply(active, true), awaited), 200);
    }
    EXPECT_EQ(status(reply(committing), Awaited::decision), 200);
    EXPECT_EQ(status(reply(committing), Awaited::completion), 202);
    EXPECT_EQ(status(reply(committed), Awaited::completion), 200);
    EXPECT_EQ(status(reply(active), Awaited::opening), 201);
}

// What still runs says where to look and when.
TEST(ReplyRendering, points_at_what_still_runs) {
    const auto response = render_progress(reply(core::TransactionState::active), Awaited::decision);
    EXPECT_EQ(response.headers.find("Location"), "/v1/transactions/x-1");
    EXPECT_EQ(response.headers.find("Retry-After"), "1");
    EXPECT_EQ(response.headers.find("ETag"), "\"9\"");
}

// The hot path's JSON, byte for byte.
TEST(ReplyRendering, writes_a_transaction) {
    EXPECT_EQ(render_progress(reply(core::TransactionState::committing), Awaited::decision).body,
              R"({"xid":"x-1","protocol":"2pc","mode":"submit","state":"committing",)"
              R"("outcome":"committed","branches":[{"branch":0,"participant":"orders",)"
              R"("phase":"prepared","attempts":2}],"created_at":"1970-01-01T00:00:00.000Z",)"
              R"("log_index":9,"needs_attention":false})");
}

// An inquiry that cannot be answered yet is no 200 either.
TEST(ReplyRendering, answers_inquiries) {
    EXPECT_EQ(render_inquiry({core::Xid{"x"}, core::Outcome::aborted}).body,
              R"({"xid":"x","outcome":"aborted"})");
    const auto open = render_inquiry({core::Xid{"x"}, std::nullopt});
    EXPECT_EQ(open.status, 202);
    EXPECT_EQ(open.body, R"({"xid":"x","outcome":"undecided"})");
}

} // namespace
} // namespace concordat::http
