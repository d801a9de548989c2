// simulation_story --seed N [--xid X] [--bug NAME]

#include "tests/simulation/story_teller.hpp"

#include <fmt/core.h>

#include <charconv>
#include <cstdio>

namespace {

constexpr const char* usage =
    "usage: simulation_story --seed N [--xid X] [--bug NAME]\n"
    "Prints what happened to every transaction of a simulated run, or to X alone.\n";

} // namespace

int main(int count, char** arguments) {
    concordat::simulation::StoryRequest request;
    bool understood = count > 1;
    for (int i = 1; i < count && understood; i += 2) {
        const std::string_view name = arguments[i];
        const std::string_view value = i + 1 < count ? arguments[i + 1] : "";
        if (name == "--seed" && !value.empty()) {
            const auto read =
                std::from_chars(value.data(), value.data() + value.size(), request.seed);
            understood = read.ec == std::errc{} && read.ptr == value.data() + value.size();
        } else if (name == "--xid" && !value.empty()) {
            request.xid = value;
        } else if (const auto bug = concordat::simulation::bug_named(value);
                   name == "--bug" && bug) {
            request.bug = *bug;
        } else {
            understood = false;
        }
    }
    if (!understood) {
        fmt::print(stderr, "{}", usage);
        return 2;
    }
    fmt::print("{}", concordat::simulation::tell_story(request));
    return 0;
}
