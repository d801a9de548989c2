#include "coordinator/http/request_decoding.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

using namespace std::chrono_literals;

/// Where the body is wrong, in order.
template <class Value>
std::vector<std::string> pointers(const Decoded<Value>& decoded) {
    std::vector<std::string> out;
    if (!decoded) {
        for (const Complaint& complaint : decoded.error()) {
            out.push_back(complaint.where);
        }
    }
    return out;
}

// A full submission reaches the core member by member.
TEST(RequestDecoding, reads_a_submission) {
    const auto begin = decode_begin(
        R"({"protocol":"3pc","timeout":"5s","metadata":{"k":"v"},"wait_for":"completion",)"
        R"("branches":[{"participant":"orders","payload":{ "a":1 }},)"
        R"({"participant":"stock","payload":null,"timeout":"2s"}]})");
    ASSERT_TRUE(begin);
    EXPECT_EQ(begin->protocol, core::Protocol::three_phase);
    EXPECT_EQ(begin->timeout, 5s);
    EXPECT_EQ(begin->metadata.at("k"), "v");
    EXPECT_EQ(begin->wait_for, core::WaitFor::completion);
    ASSERT_EQ(begin->branches.size(), 2U);
    EXPECT_EQ(begin->branches[0].participant.value(), "orders");
    EXPECT_EQ(*begin->branches[0].payload, R"({ "a":1 })");
    EXPECT_EQ(*begin->branches[1].payload, "null");
    EXPECT_EQ(begin->branches[1].call_timeout, 2s);
}

// All mistakes are told at once, each with its place.
TEST(RequestDecoding, tells_every_mistake) {
    const auto begin = decode_begin(
        R"({"protocol":"4pc","extra":1,"timeout":5,"branches":[{"participant":"A!"},{"x":1}]})");
    EXPECT_EQ(pointers(begin), (std::vector<std::string>{
                                   "/protocol", "/extra", "/timeout", "/branches/0/participant",
                                   "/branches/0/payload", "/branches/1/x",
                                   "/branches/1/participant", "/branches/1/payload"}));
}

// A submission without branches can never be decided; an interactive one gets them later.
TEST(RequestDecoding, needs_branches_only_to_submit) {
    EXPECT_EQ(pointers(decode_begin("{}")), std::vector<std::string>{"/branches"});
    EXPECT_EQ(pointers(decode_begin(R"({"branches":[]})")), std::vector<std::string>{"/branches"});
    EXPECT_TRUE(decode_begin(R"({"mode":"interactive"})"));
    for (const char* bad : {"", "[]", "7", "{", "{}x"}) {
        EXPECT_FALSE(decode_begin(bad)) << bad;
    }
}

// Metadata is bounded in number and size.
TEST(RequestDecoding, bounds_metadata) {
    const auto body = [](const std::string& metadata) {
        return R"({"mode":"interactive","metadata":{)" + metadata + "}}";
    };
    std::string many;
    for (int i = 0; i < 33; ++i) {
        many += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
    }
    EXPECT_FALSE(decode_begin(body(many)));
    EXPECT_FALSE(decode_begin(body("\"k\":\"" + std::string(513, 'x') + "\"")));
    EXPECT_FALSE(decode_begin(body("\"" + std::string(65, 'k') + "\":\"\"")));
    EXPECT_TRUE(decode_begin(body("\"k\":\"" + std::string(512, 'x') + "\"")));
}

// "Same body" is about the transaction: payload bytes count, how the client waits does not.
TEST(RequestDecoding, digests_what_makes_the_transaction) {
    const auto digest = [](const std::string& body) {
        return digest_of(decode_begin(body).value());
    };
    const std::string base = R"({"branches":[{"participant":"a","payload":1}]})";
    EXPECT_EQ(digest(base).size(), 32U);
    EXPECT_EQ(digest(base), digest(R"({"wait_for":"completion",)" + base.substr(1)));
    EXPECT_EQ(digest(base), digest(R"({"protocol":"2pc",)" + base.substr(1)));
    for (const char* other :
         {R"({"branches":[{"participant":"a","payload":2}]})",
          R"({"branches":[{"participant":"b","payload":1}]})",
          R"({"branches":[{"participant":"a","payload":1,"timeout":"1s"}]})",
          R"({"branches":[{"participant":"a","payload":1},{"participant":"a","payload":1}]})",
          R"({"timeout":"1s","branches":[{"participant":"a","payload":1}]})",
          R"({"protocol":"3pc","branches":[{"participant":"a","payload":1}]})",
          R"({"metadata":{"a":"b"},"branches":[{"participant":"a","payload":1}]})"}) {
        EXPECT_NE(digest(base), digest(other)) << other;
    }
}

// An operator's abort must say why.
TEST(RequestDecoding, wants_a_reason_from_operators) {
    EXPECT_TRUE(decode_abort(""));
    EXPECT_TRUE(decode_abort(R"({"reason":"r"})"));
    EXPECT_EQ(pointers(decode_abort(R"({"by_operator":true})")),
              std::vector<std::string>{"/reason"});
    const auto told = decode_abort(R"({"by_operator":true,"reason":"stuck"})");
    ASSERT_TRUE(told);
    EXPECT_TRUE(told->by_operator);
    EXPECT_EQ(pointers(decode_commit(R"({"reason":"r"})")), std::vector<std::string>{"/reason"});
}

// A registration is checked before it is replicated.
TEST(RequestDecoding, checks_registrations) {
    const auto good = decode_participant(
        R"({"base_url":"http://orders:8080/x","call_timeout":"3s","max_concurrent_calls":2})");
    ASSERT_TRUE(good);
    EXPECT_EQ(good->call_timeout, 3s);
    EXPECT_EQ(good->max_concurrent_calls, 2U);
    EXPECT_EQ(pointers(decode_participant("{}")), std::vector<std::string>{"/base_url"});
    for (const char* bad :
         {R"({"base_url":"orders"})", R"({"base_url":"ftp://orders"})", R"({"base_url":7})",
          R"({"base_url":"http://a","max_concurrent_calls":0})",
          R"({"base_url":"http://a","call_timeout":"0s"})",
          R"({"base_url":"http://a","call_timeout":"11m"})",
          R"({"base_url":"http://a","name":"a"})"}) {
        EXPECT_FALSE(decode_participant(bad)) << bad;
    }
}

// A ballot is a participant's: above every ballot of the group, and within what an answer can name.
TEST(RequestDecoding, reads_ballots_within_their_limits) {
    const auto promise =
        decode_promise(R"({"ballot":{"round":4294967295,"proposer":65535},"capability":"c"})");
    ASSERT_TRUE(promise);
    EXPECT_EQ(promise->ballot, (core::Ballot{4294967295, 65535}));
    EXPECT_EQ(promise->capability, "c");
    const auto accept = decode_accept(
        R"({"ballot":{"round":1,"proposer":2},"value":"committed","capability":"c"})");
    ASSERT_TRUE(accept);
    EXPECT_EQ(accept->value, core::Outcome::committed);
    using Places = std::vector<std::string>;
    EXPECT_EQ(pointers(decode_promise(
                  R"({"ballot":{"round":0,"proposer":0},"capability":"c","value":"aborted"})")),
              (Places{"/ballot/round", "/ballot/proposer", "/value"}));
    EXPECT_EQ(pointers(decode_promise(
                  R"({"ballot":{"round":4294967296,"proposer":65536},"capability":"c"})")),
              (Places{"/ballot/round", "/ballot/proposer"}));
    EXPECT_EQ(pointers(decode_accept(R"({"ballot":{}})")),
              (Places{"/ballot/round", "/ballot/proposer", "/capability", "/value"}));
    EXPECT_EQ(pointers(decode_accept(
                  R"({"ballot":{"round":1,"proposer":1},"value":"maybe","capability":"c"})")),
              Places{"/value"});
    EXPECT_FALSE(decode_promise(""));
}

} // namespace
} // namespace concordat::http
