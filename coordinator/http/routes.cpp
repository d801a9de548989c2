#include "coordinator/http/routes.hpp"

#include "coordinator/http/handlers.hpp"
#include "participant-sdk/src/transport/uri.hpp"

#include <array>

namespace concordat::http {
namespace {

constexpr RoleSet anyone = 0;
constexpr RoleSet writers = Role::client | Role::operations;
constexpr RoleSet readers = Role::client | Role::operations | Role::viewer;
constexpr RoleSet inquirers = Role::participant | Role::operations;
constexpr RoleSet observers = Role::operations | Role::viewer;
constexpr RoleSet operators = static_cast<RoleSet>(Role::operations);

constexpr std::array route_table{
    Route{"POST", "/v1/transactions", writers, handle_submit},
    Route{"GET", "/v1/transactions", readers, handle_list, true},
    Route{"PUT", "/v1/transactions/{xid}", writers, handle_put},
    Route{"GET", "/v1/transactions/{xid}", readers, handle_get, true},
    Route{"POST", "/v1/transactions/{xid}/branches", writers, handle_enlist},
    Route{"POST", "/v1/transactions/{xid}/commit", writers, handle_commit},
    Route{"POST", "/v1/transactions/{xid}/abort", writers, handle_abort},
    Route{"POST", "/v1/transactions/{xid}/retry", operators, handle_retry},
    Route{"GET", "/v1/inquiry/{xid}", inquirers, handle_inquiry},
    Route{"POST", "/v1/transactions/{xid}/ballots/promise", inquirers, handle_promise},
    Route{"POST", "/v1/transactions/{xid}/ballots/accept", inquirers, handle_accept},
    Route{"GET", "/v1/participants", readers, handle_list_participants},
    Route{"GET", "/v1/participants/{name}", readers, handle_get_participant},
    Route{"PUT", "/v1/participants/{name}", operators, handle_put_participant},
    Route{"DELETE", "/v1/participants/{name}", operators, handle_delete_participant, true},
    Route{"GET", "/v1/cluster", observers, handle_cluster},
    Route{"POST", "/v1/cluster/transfer", operators, handle_transfer},
    Route{"POST", "/v1/node/drain", operators, handle_drain},
    Route{"GET", "/v1/events", readers, handle_events},
    Route{"GET", "/livez", anyone, handle_livez},
    Route{"GET", "/readyz", anyone, handle_readyz},
    Route{"GET", "/metrics", observers, handle_metrics},
};

/// Splits off the first segment of a path that starts with '/'.
std::string_view next_segment(std::string_view& path) {
    path.remove_prefix(1);
    const std::string_view segment = path.substr(0, path.find('/'));
    path.remove_prefix(segment.size());
    return segment;
}

/// True when the path has the pattern's shape; `parameter` is the text in the place of "{…}".
bool matches(std::string_view pattern, std::string_view path, std::string_view& parameter) {
    while (!pattern.empty() && !path.empty()) {
        const std::string_view expected = next_segment(pattern);
        const std::string_view found = next_segment(path);
        if (expected.starts_with('{')) {
            if (found.empty()) {
                return false;
            }
            parameter = found;
        } else if (expected != found) {
            return false;
        }
    }
    return pattern.empty() && path.empty();
}

} // namespace

std::span<const Route> routes() noexcept {
    return route_table;
}

RouteMatch match_route(std::string_view method, std::string_view path) {
    RouteMatch result;
    if (!path.starts_with('/')) {
        return result;
    }
    for (const Route& route : route_table) {
        std::string_view parameter;
        if (!matches(route.pattern, path, parameter)) {
            continue;
        }
        if (route.method == method) {
            if (auto decoded = transport::percent_decode(parameter)) {
                result.route = &route;
                result.parameter = std::move(*decoded);
            }
            return result;
        }
        result.allowed += result.allowed.empty() ? "" : ", ";
        result.allowed += route.method;
    }
    return result;
}

} // namespace concordat::http
