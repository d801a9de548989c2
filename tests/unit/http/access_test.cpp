#include "coordinator/http/access.hpp"

#include <gtest/gtest.h>

namespace concordat::http {
namespace {

// SHA-256 of "secret".
constexpr const char* secret_digest =
    "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

transport::Request with_token(std::string_view header) {
    transport::Request request;
    request.headers.add("Authorization", header);
    return request;
}

// A table without entries lets everybody in, under the certificate's name if there is one.
TEST(Access, is_open_without_entries) {
    const AccessTable table;
    EXPECT_TRUE(table.is_open());
    EXPECT_EQ(table.identify({})->name, "anonymous");
    EXPECT_EQ(table.identify({})->role, Role::operations);
}

// Tokens are recognised by their digest, certificates by their name, all else is nobody.
TEST(Access, recognises_callers) {
    const auto table =
        AccessTable::parse(std::string("# callers\n\ntoken client shop ") + secret_digest +
                           "\ncertificate operator ops.example # me\n");
    ASSERT_TRUE(table) << table.error();
    const auto shop = table->identify(with_token("bearer secret"));
    ASSERT_TRUE(shop);
    EXPECT_EQ(shop->name, "shop");
    EXPECT_EQ(shop->role, Role::client);
    for (const char* bad :
         {"Bearer wrong", "Bearer ", "secret", "Basic secret", "Bearer secret "}) {
        EXPECT_FALSE(table->identify(with_token(bad))) << bad;
    }
    EXPECT_FALSE(table->identify({}));
    transport::Request certified;
    certified.peer_identity = "ops.example";
    EXPECT_EQ(table->identify(certified)->role, Role::operations);
    certified.peer_identity = "evil.example";
    EXPECT_FALSE(table->identify(certified));
}

// A wrong certificate-less second Authorization header is not picked from: two are refused.
TEST(Access, refuses_two_tokens) {
    const auto table = AccessTable::parse(std::string("token client shop ") + secret_digest);
    ASSERT_TRUE(table);
    auto request = with_token("Bearer secret");
    request.headers.add("Authorization", "Bearer other");
    EXPECT_FALSE(table->identify(request));
}

// A mistake in the file names its line, never its content.
TEST(Access, names_the_wrong_line) {
    for (const char* bad : {"password x y", "token", "token king shop 00", "token client shop abcd",
                            "certificate client a b"}) {
        const auto table = AccessTable::parse(std::string("# one\n") + bad);
        ASSERT_FALSE(table) << bad;
        EXPECT_EQ(table.error().find("line 2: "), 0U) << table.error();
        EXPECT_EQ(table.error().find("abcd"), std::string::npos);
    }
}

} // namespace
} // namespace concordat::http
