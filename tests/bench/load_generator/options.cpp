#include "tests/bench/load_generator/options.hpp"

#include <utility>

namespace concordat::bench {

std::expected<std::vector<transport::Origin>, std::string> validate(const Options& options) {
    std::vector<transport::Origin> origins;
    for (const std::string& url : options.urls) {
        auto parsed = transport::parse_base_url(url);
        if (!parsed) {
            return std::unexpected("--url " + url + ": " + parsed.error());
        }
        if (!parsed->base_path.empty()) {
            return std::unexpected("--url " + url + ": a coordinator has no base path");
        }
        origins.push_back(std::move(parsed->origin));
    }
    if (origins.empty()) {
        return std::unexpected("--url is needed at least once");
    }
    if (options.clients == 0 || options.clients > 10'000) {
        return std::unexpected("--clients must be 1 to 10000");
    }
    if (options.rate < 0 || options.seconds <= 0 || options.warm_up_seconds < 0) {
        return std::unexpected("--rate, --seconds and --warm-up must not be negative");
    }
    if (options.branches == 0 || options.branches > 64) {
        return std::unexpected("--branches must be 1 to 64");
    }
    if (options.payload_bytes > 100'000) {
        return std::unexpected("--payload-bytes must be at most 100000");
    }
    if (options.threads == 0 || options.threads > 64) {
        return std::unexpected("--threads must be 1 to 64");
    }
    return origins;
}

} // namespace concordat::bench
