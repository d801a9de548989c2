#pragma once

// The route table: every method and path of the API, who may use it and what handles it. A test
// compares it with openapi.yaml.
//
// Threading: immutable.

#include "coordinator/http/access.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace concordat::http {

class Service;
struct Exchange;
using ExchangePtr = std::shared_ptr<Exchange>;

struct Route {
    std::string_view method;
    std::string_view pattern; ///< at most one "{parameter}" segment
    RoleSet roles;            ///< 0: no credentials needed
    void (*handler)(Service&, const ExchangePtr&);
    bool takes_query = false; ///< otherwise any query parameter is refused
};

[[nodiscard]] std::span<const Route> routes() noexcept;

struct RouteMatch {
    const Route* route = nullptr; ///< null: no route
    std::string parameter;        ///< decoded text of the pattern's parameter
    std::string allowed;          ///< methods of the path, when only the method was wrong
};
[[nodiscard]] RouteMatch match_route(std::string_view method, std::string_view path);

} // namespace concordat::http
