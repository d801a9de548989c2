#include "participant-sdk/src/participant/branch_routes.hpp"

#include <charconv>
#include <vector>

namespace concordat::participant {

namespace {

std::optional<std::uint16_t> branch_number(std::string_view text) {
    std::uint16_t number = 0;
    const char* const end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, number);
    const bool plain = !text.empty() && (text.size() == 1 || text.front() != '0');
    if (!plain || parsed.ec != std::errc{} || parsed.ptr != end) {
        return std::nullopt;
    }
    return number;
}

} // namespace

std::optional<BranchRoute> branch_route(std::string_view path) {
    static constexpr std::string_view root = "/v1/branches";
    if (path == "/v1/branches:batch") {
        return BranchRoute{};
    }
    if (!path.starts_with(root) || path.size() == root.size() || path[root.size()] != '/') {
        return std::nullopt;
    }
    path.remove_prefix(root.size() + 1);
    std::vector<std::string_view> segments;
    for (std::size_t slash = path.find('/'); slash != std::string_view::npos && segments.size() < 5;
         slash = path.find('/')) {
        segments.push_back(path.substr(0, slash));
        path.remove_prefix(slash + 1);
    }
    segments.push_back(path);
    if (segments.size() < 2 || segments.size() > 4) {
        return std::nullopt;
    }
    const auto xid = Xid::parse(segments[0]);
    const auto number = branch_number(segments[1]);
    if (!xid || !number) {
        return std::nullopt;
    }
    BranchRoute route;
    route.key = BranchKey{*xid, *number};
    if (segments.size() == 2) {
        route.kind = BranchRoute::Kind::status;
        route.method = "GET";
        return route;
    }
    if (segments.size() == 3) {
        const auto operation = wire::operation_from(segments[2]);
        if (!operation) {
            return std::nullopt;
        }
        route.kind = BranchRoute::Kind::operation;
        route.operation = *operation;
        return route;
    }
    if (segments[2] != "ballots" || (segments[3] != "promise" && segments[3] != "accept")) {
        return std::nullopt;
    }
    route.kind = segments[3] == "promise" ? BranchRoute::Kind::promise : BranchRoute::Kind::accept;
    return route;
}

} // namespace concordat::participant
