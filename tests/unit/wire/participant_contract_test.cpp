#include "participant-sdk/src/wire/participant_contract.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace concordat::wire {
namespace {

BranchRequest full_request() {
    BranchRequest request;
    request.xid = "order-4711.A_b";
    request.branch = 3;
    request.operation = Operation::prepare;
    request.epoch = 18446744073709551615U;
    request.attempt = 4294967295U;
    request.three_phase = true;
    request.participant = "inventory";
    request.payload = R"({"sku":"a\"b","n":[1,2.50, {"x":null}]})";
    request.participants = {{0, "orders", "http://127.0.0.1:8000/base"},
                            {3, "inventory", "https://[::1]:8001"}};
    request.quorum = 2;
    request.coordinator_is_acceptor = true;
    request.capability = "c4pability\n";
    request.coordinators = {"http://a:1", "http://b:2"};
    return request;
}

void expect_equal(const BranchRequest& left, const BranchRequest& right) {
    EXPECT_EQ(left.xid, right.xid);
    EXPECT_EQ(left.branch, right.branch);
    EXPECT_EQ(left.operation, right.operation);
    EXPECT_EQ(left.epoch, right.epoch);
    EXPECT_EQ(left.attempt, right.attempt);
    EXPECT_EQ(left.three_phase, right.three_phase);
    EXPECT_EQ(left.participant, right.participant);
    EXPECT_EQ(left.payload, right.payload);
    EXPECT_EQ(left.participants, right.participants);
    EXPECT_EQ(left.quorum, right.quorum);
    EXPECT_EQ(left.coordinator_is_acceptor, right.coordinator_is_acceptor);
    EXPECT_EQ(left.capability, right.capability);
    EXPECT_EQ(left.coordinators, right.coordinators);
}

// Purpose: every member of a request must survive the wire, the payload byte for byte.
TEST(BranchRequest, round_trips_with_every_member) {
    const BranchRequest request = full_request();
    const std::string body = encode(request);
    ASSERT_TRUE(nlohmann::json::accept(body)) << body;
    const auto decoded = decode_request(request.xid, request.branch, body);
    ASSERT_TRUE(decoded) << decoded.error().pointer << ' ' << decoded.error().detail;
    expect_equal(*decoded, request);
}

// Purpose: a batch carries the key of each operation in its body and keeps the order.
TEST(BranchRequest, round_trips_in_a_batch) {
    BranchRequest small;
    small.xid = "x";
    small.operation = Operation::commit;
    const auto decoded = decode_request_batch(encode_batch({full_request(), small}));
    ASSERT_TRUE(decoded) << decoded.error().pointer << ' ' << decoded.error().detail;
    ASSERT_EQ(decoded->size(), 2U);
    expect_equal((*decoded)[0], full_request());
    expect_equal((*decoded)[1], small);
}

// Purpose: each wrong body is refused and the error points at the member that is wrong.
TEST(BranchRequest, refuses_bad_bodies_with_a_pointer) {
    struct Case {
        std::string body;
        std::string pointer;
    };
    const std::string start = R"({"operation":"commit","epoch":1,"attempt":1)";
    const std::vector<Case> cases{
        {"", ""},
        {"[]", ""},
        {"{}", ""},
        {start + "} x", ""},
        {start + R"(,"surprise":1})", "/surprise"},
        {start + R"(,"epoch":2})", "/epoch"},
        {start + R"(,"protocol":"4pc"})", "/protocol"},
        {start + R"(,"participant":"Upper"})", "/participant"},
        {start + R"(,"payload":{"a":}})", "/payload"},
        {start + R"(,"participants":[{"branch":0,"participant":"a"}]})", "/participants/0"},
        {start + R"(,"participants":[{"branch":70000,"participant":"a","base_url":""}]})",
         "/participants/0/branch"},
        {start + R"(,"coordinators":["a",1]})", "/coordinators/1"},
        {start + R"(,"quorum":-1})", "/quorum"},
        {start + R"(,"xid":"other"})", "/xid"},
        {start + R"(,"capability":")" + std::string(257, 'c') + "\"}", "/capability"},
        {R"({"operation":"explode","epoch":1,"attempt":1})", "/operation"},
        {R"({"operation":"commit","epoch":1})", ""},
    };
    for (const Case& wrong : cases) {
        const auto decoded = decode_request("x", 0, wrong.body);
        ASSERT_FALSE(decoded) << wrong.body;
        EXPECT_EQ(decoded.error().pointer, wrong.pointer) << wrong.body << decoded.error().detail;
        EXPECT_FALSE(decoded.error().detail.empty());
    }
    EXPECT_FALSE(decode_request("not an xid", 0, start + "}"));
    EXPECT_TRUE(decode_request("x", 0, start + "}"));
}

// Purpose: the limits of payload and batch hold at the byte and at the element.
TEST(BranchRequest, enforces_its_limits) {
    BranchRequest request;
    request.xid = "x";
    request.payload = '"' + std::string(max_payload_bytes - 2, 'p') + '"';
    EXPECT_TRUE(decode_request("x", 0, encode(request)));
    request.payload = '"' + std::string(max_payload_bytes - 1, 'p') + '"';
    EXPECT_FALSE(decode_request("x", 0, encode(request)));

    request.payload.clear();
    EXPECT_TRUE(decode_request_batch(encode_batch(std::vector(max_batch, request))));
    EXPECT_FALSE(decode_request_batch(encode_batch(std::vector(max_batch + 1, request))));
}

// Purpose: an answer must survive the wire, and must repeat the HTTP status it came with.
TEST(BranchAnswer, round_trips_and_is_bound_to_the_http_status) {
    BranchAnswer answer;
    answer.status = 409;
    answer.vote = Vote::read_only;
    answer.outcome = Outcome::aborted;
    answer.reason = "said \"no\"";
    answer.retry_after = std::chrono::milliseconds(250);
    const auto decoded = decode_answer(409, encode(answer));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->status, 409);
    EXPECT_EQ(decoded->vote, Vote::read_only);
    EXPECT_EQ(decoded->outcome, Outcome::aborted);
    EXPECT_EQ(decoded->reason, answer.reason);
    EXPECT_EQ(decoded->retry_after, answer.retry_after);
    EXPECT_FALSE(decode_answer(200, encode(answer)));
    EXPECT_FALSE(decode_answer(200, ""));
    EXPECT_FALSE(decode_answer(502, "<html>bad gateway</html>"));
    ASSERT_TRUE(decode_answer(503, ""));
    EXPECT_EQ(decode_answer(503, "")->status, 503);

    const auto batch = decode_answer_batch(encode_batch({answer, BranchAnswer{}}));
    ASSERT_TRUE(batch);
    ASSERT_EQ(batch->size(), 2U);
    EXPECT_EQ((*batch)[0].status, 409);
    EXPECT_EQ((*batch)[1].status, 200);
}

// Purpose: a reason longer than the limit is cut between characters, not in the middle of one.
TEST(BranchAnswer, cuts_long_reasons_between_characters) {
    BranchAnswer answer;
    answer.reason = "x";
    while (answer.reason.size() < 2 * max_reason_bytes) {
        answer.reason += "€";
    }
    const auto decoded = decode_answer(200, encode(answer));
    ASSERT_TRUE(decoded);
    EXPECT_LE(decoded->reason.size(), max_reason_bytes);
    EXPECT_GT(decoded->reason.size(), max_reason_bytes - 4);
    EXPECT_EQ(answer.reason.substr(0, decoded->reason.size()), decoded->reason);
}

// Purpose: ballots and their answers must survive the wire with and without optional members.
TEST(Ballot, round_trips) {
    BallotRequest request{"x", 2, {7, 3}, Outcome::committed, "secret"};
    const auto decoded = decode_ballot_request("x", 2, encode(request));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->ballot, request.ballot);
    EXPECT_EQ(decoded->value, request.value);
    EXPECT_EQ(decoded->capability, "secret");
    request.value.reset();
    EXPECT_EQ(decode_ballot_request("x", 2, encode(request))->value, std::nullopt);
    EXPECT_FALSE(decode_ballot_request("x", 2, R"({"ballot":{"round":1,"proposer":1}})"));

    BallotAnswer answer;
    answer.granted = true;
    answer.promised = {7, 3};
    answer.accepted_ballot = Ballot{0, 0};
    answer.accepted_value = Outcome::committed;
    answer.outcome = Outcome::aborted;
    answer.reason = "r";
    const auto back = decode_ballot_answer(encode(answer));
    ASSERT_TRUE(back);
    EXPECT_TRUE(back->granted);
    EXPECT_EQ(back->promised, answer.promised);
    EXPECT_EQ(back->accepted_ballot, answer.accepted_ballot);
    EXPECT_EQ(back->accepted_value, answer.accepted_value);
    EXPECT_EQ(back->outcome, answer.outcome);
    answer.accepted_value.reset();
    EXPECT_FALSE(decode_ballot_answer(encode(answer)));
}

// Purpose: every operation and every state has one name, and the name leads back to it.
TEST(Names, lead_back_to_their_values) {
    for (const auto operation : {Operation::prepare, Operation::pre_commit, Operation::commit,
                                 Operation::abort, Operation::commit_one_phase, Operation::learn}) {
        EXPECT_EQ(operation_from(name_of(operation)), operation);
    }
    EXPECT_EQ(operation_from("Prepare"), std::nullopt);
    for (const auto state : {BranchState::unknown, BranchState::prepared, BranchState::committed,
                             BranchState::aborted}) {
        EXPECT_EQ(decode_status(encode(BranchStatus{state}))->state, state);
    }
    EXPECT_FALSE(decode_status(R"({"state":"lost"})"));
    BranchRequest request = full_request();
    request.operation = Operation::commit_one_phase;
    EXPECT_EQ(target_of(request), "/v1/branches/order-4711.A_b/3/commit-one-phase");
}

} // namespace
} // namespace concordat::wire
