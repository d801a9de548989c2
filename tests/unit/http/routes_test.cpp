#include "coordinator/http/routes.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

// Every route is found by a path of its own shape.
TEST(Routes, finds_every_route) {
    for (const Route& route : routes()) {
        std::string path(route.pattern);
        if (const auto open = path.find('{'); open != std::string::npos) {
            path.replace(open, path.find('}') - open + 1, "a%2Fb");
        }
        const RouteMatch match = match_route(route.method, path);
        ASSERT_NE(match.route, nullptr) << route.pattern;
        EXPECT_EQ(match.route->pattern, route.pattern);
        EXPECT_EQ(match.route->method, route.method);
        EXPECT_EQ(match.parameter, path == route.pattern ? "" : "a/b");
    }
}

// A known path with another method says which ones there are.
TEST(Routes, names_allowed_methods) {
    const RouteMatch match = match_route("PATCH", "/v1/participants/orders");
    EXPECT_EQ(match.route, nullptr);
    EXPECT_EQ(match.allowed, "GET, PUT, DELETE");
}

// Near misses are no routes.
TEST(Routes, refuses_other_paths) {
    for (const char* path : {"", "/", "/v1", "/v1/transactions/", "/v1/transactions/x/",
                             "/v1/transactions/x/commit/y", "/V1/transactions", "//v1/transactions",
                             "v1/transactions", "/v1/participants/%zz", "/livez/x"}) {
        EXPECT_EQ(match_route("GET", path).route, nullptr) << path;
    }
}

// Only the health routes are open to callers without credentials; the only changes that
// participants may ask for are ballots.
TEST(Routes, protects_all_but_health) {
    for (const Route& route : routes()) {
        const bool is_health = route.pattern == "/livez" || route.pattern == "/readyz";
        EXPECT_EQ(route.roles == 0, is_health) << route.pattern;
        EXPECT_TRUE(is_health || holds(route.roles, Role::operations)) << route.pattern;
        if (route.method != "GET") {
            EXPECT_FALSE(holds(route.roles, Role::viewer)) << route.pattern;
            const bool is_ballot = route.pattern.find("/ballots/") != std::string_view::npos;
            EXPECT_EQ(holds(route.roles, Role::participant), is_ballot) << route.pattern;
        }
    }
}

} // namespace
} // namespace concordat::http
