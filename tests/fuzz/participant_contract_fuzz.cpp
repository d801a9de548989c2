// Bodies of the participant contract, both directions: what decodes survives encoding.

#include "participant-sdk/src/wire/participant_contract.hpp"
#include "tests/fuzz/fuzz_target.hpp"

#include <algorithm>
#include <array>

namespace concordat::fuzz {
namespace {

wire::BranchRequest example() {
    return {
        .xid = "x-1",
        .branch = 1,
        .operation = wire::Operation::prepare,
        .epoch = 7,
        .attempt = 2,
        .three_phase = true,
        .participant = "inventory",
        .payload = R"({"sku":"a","n":[1,2.5e3,null,"\u00e4"]})",
        .participants = {{0, "order", "http://order:1"}, {1, "inventory", "http://inventory:1"}},
        .quorum = 2,
        .coordinator_is_acceptor = true,
        .capability = "c0ffee",
        .coordinators = {"http://node-1:8700"}};
}

} // namespace

std::vector<std::string> seeds() {
    wire::BranchAnswer voted{.vote = wire::Vote::yes};
    wire::BranchAnswer refused{
        .status = 409, .outcome = wire::Outcome::aborted, .reason = "no stock"};
    wire::BallotRequest ballot{.xid = "x-1",
                               .branch = 1,
                               .ballot = {2, 1},
                               .value = wire::Outcome::committed,
                               .capability = "c0ffee"};
    wire::BallotAnswer granted{.granted = true,
                               .promised = {2, 1},
                               .accepted_ballot = wire::Ballot{0, 0},
                               .accepted_value = wire::Outcome::committed};
    return {wire::encode(example()),
            wire::encode_batch(std::vector{example(), example()}),
            wire::encode(voted),
            wire::encode(refused),
            wire::encode_batch(std::vector{voted, refused}),
            wire::encode(ballot),
            wire::encode(granted),
            wire::encode(wire::BranchStatus{wire::BranchState::prepared})};
}

bool run_one(std::string_view input) {
    const auto request = wire::decode_request("x-1", 1, input);
    if (request) {
        require(request->payload.size() <= wire::max_payload_bytes, "a payload is bounded");
        require(request->participants.size() <= wire::max_peers, "peers are bounded");
        const std::string encoded = wire::encode(*request);
        const auto again = wire::decode_request("x-1", 1, encoded);
        require(again.has_value(), "what was decoded can be sent");
        require(wire::encode(*again) == encoded, "encoding is stable");
        require(again->payload == request->payload, "a payload passes through byte for byte");
    } else {
        require(!request.error().detail.empty(), "every refusal has words");
    }
    const auto batch = wire::decode_request_batch(input);
    if (batch) {
        require(batch->size() <= wire::max_batch, "a batch is bounded");
    }
    const auto answer = wire::decode_answer(200, input);
    if (answer) {
        require(answer->reason.size() <= wire::max_reason_bytes, "a reason is bounded");
    }
    // No short circuit: every decoder sees every input.
    const std::array accepted{
        request.has_value(),
        batch.has_value(),
        answer.has_value(),
        wire::decode_answer(409, input).has_value(),
        wire::decode_answer_batch(input).has_value(),
        wire::decode_ballot_request("x-1", 1, input).has_value(),
        wire::decode_ballot_answer(input).has_value(),
        wire::decode_status(input).has_value(),
    };
    return std::ranges::find(accepted, true) != accepted.end();
}

} // namespace concordat::fuzz
