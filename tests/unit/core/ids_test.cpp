#include "coordinator/core/ids.hpp"

#include <gtest/gtest.h>

#include <string>

namespace concordat::core {
namespace {

// An xid is 1 to 64 characters of a fixed set; anything else could break paths or gids.
TEST(Xid, is_parsed_only_when_every_character_is_allowed) {
    EXPECT_TRUE(parse_xid("Aa0._-"));
    EXPECT_TRUE(parse_xid(std::string(max_xid_bytes, 'x')));
    EXPECT_FALSE(parse_xid(""));
    EXPECT_FALSE(parse_xid(std::string(max_xid_bytes + 1, 'x')));
    for (const char* bad : {"a/b", "a b", "a'b", "a%b", "ä", "a\n"}) {
        EXPECT_FALSE(parse_xid(bad)) << bad;
    }
    EXPECT_FALSE(parse_xid(std::string_view{"a\0b", 3}));
}

// A participant's name is lower case, so that two spellings never name two participants.
TEST(ParticipantName, is_parsed_only_in_lower_case) {
    EXPECT_TRUE(parse_participant_name("order-service-2"));
    EXPECT_FALSE(parse_participant_name("Order"));
    EXPECT_FALSE(parse_participant_name("a_b"));
    EXPECT_FALSE(parse_participant_name(""));
    EXPECT_FALSE(parse_participant_name(std::string(max_participant_name_bytes + 1, 'a')));
}

// What the server makes is a valid xid and is understood again, the largest numbers included.
TEST(ServerXid, survives_the_round_trip) {
    for (const ServerXid& parts :
         {ServerXid{0, Epoch{1}, 1}, ServerXid{65535, Epoch{~0ULL}, ~0ULL}}) {
        const Xid xid = make_server_xid(parts.group, parts.epoch, parts.sequence);
        EXPECT_TRUE(parse_xid(xid.value())) << xid.value();
        EXPECT_EQ(parse_server_xid(xid), parts);
    }
}

// Only the exact form is the server's; otherwise a client's xid could be taken for a closed one.
TEST(ServerXid, is_refused_in_any_other_form) {
    for (const char* other :
         {"g", "g0", "g0-1", "g0-1-", "g0-1-2-3", "G0-1-2", "g00-1-2", "g0-01-2", "g65536-1-2",
          "g0-1-18446744073709551616", "x0-1-2", "g0-1-2x"}) {
        EXPECT_FALSE(parse_server_xid(Xid{other})) << other;
    }
}

} // namespace
} // namespace concordat::core
