#include "participant-sdk/src/wire/hex.hpp"

#include <gtest/gtest.h>

namespace concordat::wire {
namespace {

// What is typed in hexadecimal is the same bytes that were shown.
TEST(Hex, reads_back_the_digits_it_writes) {
    const std::string bytes("\x00\xff\x10z", 4);
    EXPECT_EQ(to_hex(bytes), "00ff107a");
    EXPECT_EQ(from_hex("00ff107a"), bytes);
    EXPECT_EQ(from_hex("00FF107A"), bytes);
    EXPECT_EQ(from_hex(""), "");
    for (const char* bad : {"0", "0x", "0g", "+1", " 1", "00 "}) {
        EXPECT_FALSE(from_hex(bad)) << bad;
    }
}

} // namespace
} // namespace concordat::wire
