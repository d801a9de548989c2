// Bodies of the REST API: every refusal has a reason, and a payload is cut out exactly as it was
// sent.

#include "coordinator/http/request_decoding.hpp"
#include "tests/fuzz/fuzz_target.hpp"

#include <algorithm>
#include <array>

namespace concordat::fuzz {

std::vector<std::string> seeds() {
    return {
        R"({"protocol":"2pc","branches":[{"participant":"order","payload":{"a":[1,-2.5e+3,"\u00e4\n"]}},)"
        R"({"participant":"inventory","payload":null,"timeout":"2s"}],"timeout":"30s","metadata":{"k":"v"}})",
        R"({"protocol":"3pc","mode":"interactive","branches":[],"wait_for":"completion"})",
        R"({"participant":"order","payload":null})",
        R"({"wait_for":"decision","reason":"x","by_operator":true})",
        R"({"base_url":"http://order:8080","call_timeout":"10s","max_concurrent_calls":64})",
        R"({"to":3,"reason":"maintenance"})",
        R"({"ballot":{"round":1,"proposer":2},"value":"aborted","capability":"4f2a"})",
        R"({"ballot":{"round":1,"proposer":2},"capability":"4f2a"})",
    };
}

bool run_one(std::string_view input) {
    const auto begin = http::decode_begin(input);
    if (begin) {
        require(begin->branches.size() <= http::max_branches_read, "branches are bounded");
        for (const core::BranchSpec& branch : begin->branches) {
            require(!branch.payload || input.find(*branch.payload) != std::string_view::npos,
                    "a payload is a piece of the body");
        }
        require(http::digest_of(*begin) == http::digest_of(*begin), "a digest is a function");
    } else {
        require(!begin.error().empty(), "a refusal names at least one thing");
        require(begin.error().size() <= http::JsonReader::max_complaints + 1,
                "complaints are bounded");
    }
    // No short circuit: every decoder sees every input.
    const std::array accepted{
        begin.has_value(),
        http::decode_branch(input).has_value(),
        http::decode_commit(input).has_value(),
        http::decode_abort(input).has_value(),
        http::decode_participant(input).has_value(),
        http::decode_transfer(input).has_value(),
        http::decode_promise(input).has_value(),
        http::decode_accept(input).has_value(),
    };
    return std::ranges::find(accepted, true) != accepted.end();
}

} // namespace concordat::fuzz
