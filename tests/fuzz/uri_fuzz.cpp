// URLs, escapes and query strings: what is accepted is canonical.

#include "participant-sdk/src/transport/uri.hpp"
#include "tests/fuzz/fuzz_target.hpp"

namespace concordat::fuzz {

std::vector<std::string> seeds() {
    return {"http://inventory:8080", "https://a.example/base/path", "http://[2001:db8::1]:81/x",
            "a=1&b=x%20y&c=%C3%A4", "limit=200&cursor=abc+def"};
}

bool run_one(std::string_view input) {
    const auto url = transport::parse_base_url(input);
    if (url) {
        require(!url->origin.host.empty(), "a host is never empty");
        require(!url->base_path.ends_with('/'), "a base path has no trailing slash");
        const std::string again =
            (url->origin.tls ? "https://" : "http://") + url->origin.host_header() + url->base_path;
        const auto parsed_again = transport::parse_base_url(again);
        require(parsed_again.has_value() && *parsed_again == *url, "a URL survives printing");
    }
    const auto decoded = transport::percent_decode(input);
    if (decoded && !input.contains('\0')) {
        require(!decoded->contains('\0'), "no escape decodes to NUL");
        const auto decoded_again = transport::percent_decode(transport::percent_encode(*decoded));
        require(decoded_again == decoded, "decode is the inverse of encode");
    }
    const auto query = transport::parse_query(input);
    if (query) {
        require(query->size() <= transport::max_query_parameters, "parameters are bounded");
    }
    return url || decoded || query;
}

} // namespace concordat::fuzz
