// Values of the configuration: a refusal says what is wrong, and what is accepted is in range.

#include "coordinator/app/configuration.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace concordat::fuzz {

std::vector<std::string> seeds() {
    return {"250ms",      "5s",
            "24h",        "64MiB",
            "512",        "127.0.0.1:8700",
            "[::1]:8701", "1,node-1:8701,http://node-1:8700;2,node-2:8701,http://node-2:8700"};
}

bool run_one(std::string_view input) {
    const auto duration = app::parse_duration(input);
    require(!duration || duration->count() >= 0, "a duration is not negative");
    const auto size = app::parse_size(input);
    const auto address = app::parse_host_port(input);
    const auto members = app::parse_members(input);
    require(members || !members.error().empty(), "every refusal has words");
    return duration || size || address || members;
}

} // namespace concordat::fuzz
