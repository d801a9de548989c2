#include "participant-sdk/src/participant/branch_routes.hpp"

#include <gtest/gtest.h>

namespace concordat::participant {
namespace {

// Purpose: every target of the contract must lead to what it names.
TEST(BranchRoutes, recognise_the_targets_of_the_contract) {
    EXPECT_EQ(branch_route("/v1/branches:batch")->kind, BranchRoute::Kind::batch);
    const auto prepare = branch_route("/v1/branches/a.b-c/7/prepare");
    ASSERT_TRUE(prepare);
    EXPECT_EQ(prepare->kind, BranchRoute::Kind::operation);
    EXPECT_EQ(prepare->operation, wire::Operation::prepare);
    EXPECT_EQ(prepare->key->xid.value(), "a.b-c");
    EXPECT_EQ(prepare->key->branch, 7);
    EXPECT_EQ(branch_route("/v1/branches/x/0/commit-one-phase")->operation,
              wire::Operation::commit_one_phase);
    EXPECT_EQ(branch_route("/v1/branches/x/65535")->kind, BranchRoute::Kind::status);
    EXPECT_EQ(branch_route("/v1/branches/x/65535")->method, "GET");
    EXPECT_EQ(branch_route("/v1/branches/x/0/ballots/promise")->kind, BranchRoute::Kind::promise);
    EXPECT_EQ(branch_route("/v1/branches/x/0/ballots/accept")->kind, BranchRoute::Kind::accept);
}

// Purpose: a target that is nearly one of the contract must not be taken for it.
TEST(BranchRoutes, refuse_everything_else) {
    for (const auto* path :
         {"", "/", "/v1/branches", "/v1/branches/", "/v1/branches/x", "/v1/branches/x/",
          "/v1/branches/x/0/", "/v1/branches/x/0/Prepare", "/v1/branches/x/00/prepare",
          "/v1/branches/x/65536/prepare", "/v1/branches/x/-1/prepare", "/v1/branches/x/+1/prepare",
          "/v1/branches/x%20y/0/prepare", "/v1/branches/x/0/ballots", "/v1/branches/x/0/ballots/x",
          "/v1/branches/x/0/prepare/y", "/v1/branches/x/0/ballots/promise/y",
          "/v1/branchesx/0/prepare", "/v1/branches:batchy"}) {
        EXPECT_FALSE(branch_route(path)) << path;
    }
}

} // namespace
} // namespace concordat::participant
