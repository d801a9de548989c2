#include "coordinator/http/allowed_networks.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

// Without rules everything is allowed; with none() nothing is.
TEST(AllowedNetworks, allows_all_or_nothing) {
    EXPECT_TRUE(AllowedNetworks().allows("192.0.2.1"));
    EXPECT_FALSE(AllowedNetworks::none().allows("192.0.2.1"));
}

// Prefixes are compared bit by bit, in both address families and across the mapped form.
TEST(AllowedNetworks, compares_prefixes) {
    const auto networks = AllowedNetworks::parse({"10.0.0.0/8", "192.0.2.128/25", "fd00::/8"});
    ASSERT_TRUE(networks);
    for (const char* good : {"10.255.0.1", "192.0.2.129", "fd12::1", "::ffff:10.1.2.3"}) {
        EXPECT_TRUE(networks->allows(good)) << good;
    }
    for (const char* bad :
         {"11.0.0.1", "192.0.2.127", "fe80::1", "::1", "::ffff:11.0.0.1", "name", ""}) {
        EXPECT_FALSE(networks->allows(bad)) << bad;
    }
    EXPECT_TRUE(AllowedNetworks::parse({"127.0.0.1"})->allows("127.0.0.1"));
    EXPECT_FALSE(AllowedNetworks::parse({"127.0.0.1"})->allows("127.0.0.2"));
    EXPECT_TRUE(AllowedNetworks::parse({"0.0.0.0/0"})->allows("8.8.8.8"));
    EXPECT_FALSE(AllowedNetworks::parse({"0.0.0.0/0"})->allows("2001:db8::1"));
}

// What is not a network is told, not ignored.
TEST(AllowedNetworks, refuses_nonsense) {
    for (const char* bad :
         {"10.0.0.0/33", "fd00::/129", "10.0.0", "host/8", "10.0.0.0/", "10.0.0.0/8x", ""}) {
        EXPECT_FALSE(AllowedNetworks::parse({bad})) << bad;
    }
}

} // namespace
} // namespace concordat::http
