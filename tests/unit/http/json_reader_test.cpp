#include "coordinator/http/json_reader.hpp"

#include <gtest/gtest.h>

#include <string>

namespace concordat::http {
namespace {

bool is_json(std::string_view text) {
    JsonReader reader(text);
    static_cast<void>(reader.raw());
    reader.finish();
    return reader.complaints().empty();
}

// What RFC 8259 allows is read, and nothing else.
TEST(JsonReader, accepts_exactly_the_grammar) {
    for (const char* good :
         {"null", " true ", "-0", "1.5e+3", "\"\"", "[]", "{}", "[1,[2],{}]",
          R"({"a":{"b":[null]}})", R"("\u00e9\ud83d\ude00\n")", "\"\xC3\xA9\""}) {
        EXPECT_TRUE(is_json(good)) << good;
    }
    for (const char* bad : {"",
                            "nul",
                            "01",
                            "1.",
                            ".5",
                            "+1",
                            "1e",
                            "[1,]",
                            "[,1]",
                            "{\"a\"}",
                            "{\"a\":1,}",
                            "{a:1}",
                            "'x'",
                            "\"\\x\"",
                            "\"\\ud800\"",
                            "\"\\udc00\"",
                            "\"\\u12g4\"",
                            "\"\t\"",
                            "\"open",
                            "\"\xC0\x80\"",
                            "\"\xED\xA0\x80\"",
                            "\"\xF5\x80\x80\x80\"",
                            "1 2",
                            "[1",
                            "{\"a\":"}) {
        EXPECT_FALSE(is_json(bad)) << bad;
    }
    EXPECT_FALSE(is_json(std::string_view("\"a\0b\"", 5)));
}

// A payload reaches the participant byte for byte.
TEST(JsonReader, cuts_a_value_out_as_it_was_written) {
    JsonReader reader(R"({ "payload" :  {"z": 1.0, "a" :[ ]}  , "rest":1})");
    std::string payload;
    reader.object([&](std::string_view key) {
        const auto raw = reader.raw();
        if (key == "payload" && raw) {
            payload = *raw;
        }
    });
    reader.finish();
    EXPECT_TRUE(reader.complaints().empty());
    EXPECT_EQ(payload, R"({"z": 1.0, "a" :[ ]})");
}

// Escapes in a string are resolved, surrogate pairs to one character.
TEST(JsonReader, decodes_escapes) {
    JsonReader reader(R"("a\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00")");
    EXPECT_EQ(reader.string(), "a\"\\/\b\f\n\r\tA\xC3\xA9\xF0\x9F\x98\x80");
}

// A complaint says where: the pointer escapes '~' and '/' as RFC 6901 demands.
TEST(JsonReader, points_at_what_is_wrong) {
    JsonReader reader(R"({"list":[{"a/b~c":true}]})");
    reader.object([&](std::string_view) {
        reader.array([&](std::size_t) {
            reader.object([&](std::string_view) { EXPECT_FALSE(reader.integer(0, 9)); });
        });
    });
    ASSERT_EQ(reader.complaints().size(), 1U);
    EXPECT_EQ(reader.complaints()[0].where, "/list/0/a~1b~0c");
}

// A value of the wrong type is a complaint, and the rest is still read.
TEST(JsonReader, goes_on_after_a_wrong_type) {
    JsonReader reader(R"({"a":[1,{"x":2}],"b":"text"})");
    std::optional<std::string> a;
    std::optional<std::string> b;
    reader.object([&](std::string_view key) { (key == "a" ? a : b) = reader.string(); });
    reader.finish();
    EXPECT_FALSE(a);
    EXPECT_EQ(b, "text");
    EXPECT_EQ(reader.complaints().size(), 1U);
}

// A member that occurs twice could be read differently by somebody else: it is refused.
TEST(JsonReader, complains_about_a_repeated_member) {
    JsonReader reader(R"({"a":1,"\u0061":2})");
    reader.object([&](std::string_view) { static_cast<void>(reader.raw()); });
    ASSERT_EQ(reader.complaints().size(), 1U);
    EXPECT_EQ(reader.complaints()[0].where, "/a");
}

// Depth and number of complaints are bounded, whatever the body says.
TEST(JsonReader, bounds_depth_and_complaints) {
    EXPECT_TRUE(is_json(std::string(60, '[') + std::string(60, ']')));
    EXPECT_FALSE(is_json(std::string(100'000, '[')));
    std::string many = "[";
    for (int i = 0; i < 100; ++i) {
        many += i == 0 ? "1" : ",1";
    }
    many += "]";
    JsonReader reader(many);
    reader.array([&](std::size_t) { static_cast<void>(reader.string()); });
    EXPECT_EQ(reader.complaints().size(), JsonReader::max_complaints);
}

// Numbers outside the range, fractions and huge ones are not integers.
TEST(JsonReader, takes_only_integers_in_range) {
    EXPECT_EQ(JsonReader("7").integer(0, 7), 7);
    for (const char* bad : {"8", "-1", "1.0", "1e1", "99999999999999999999", "\"1\""}) {
        JsonReader reader(bad);
        EXPECT_FALSE(reader.integer(0, 7)) << bad;
        EXPECT_EQ(reader.complaints().size(), 1U) << bad;
    }
}

} // namespace
} // namespace concordat::http
