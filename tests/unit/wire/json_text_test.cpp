#include "participant-sdk/src/wire/json_text.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>
#include <string>
#include <vector>

namespace concordat::wire {
namespace {

bool accepts(std::string_view text) {
    JsonReader reader(text);
    (void)reader.read_raw();
    return reader.finish();
}

// Purpose: the hand-written reader must accept exactly what an independent parser accepts.
TEST(JsonReader, agrees_with_an_independent_parser_on_mutated_documents) {
    const std::vector<std::string> seeds{
        R"({"a":[1,2.5,-3e+7,0,-0.0],"b":{"c":"\u00e4\ud83d\ude00\n","d":null},"e":true,"f":false})",
        R"(["\\\"\/\b\f\n\r\t","äöü€😀",[],{},[[[]]],12345678901234567890])",
        R"( { "x" : [ { "y" : "z" } , 1E-2 ] } )"};
    std::mt19937 random(20240611);
    const std::string alphabet = "{}[]\",:0123456789.eE+-truefalsn\\u \xc3\xa4\xed\xa0\x80\x01";
    std::size_t accepted = 0;
    for (int round = 0; round < 60'000; ++round) {
        std::string text = seeds[random() % seeds.size()];
        const auto changes = random() % 4;
        for (std::uint32_t change = 0; change < changes; ++change) {
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
            case 0:
                text[at] = alphabet[random() % alphabet.size()];
                break;
            case 1:
                text.erase(at, 1);
                break;
            default:
                text.insert(at, 1, alphabet[random() % alphabet.size()]);
                break;
            }
        }
        bool expected = true;
        try {
            const auto document = nlohmann::json::parse(text);
        } catch (const nlohmann::json::parse_error&) {
            expected = false;
        } catch (const nlohmann::json::out_of_range&) {
            continue; // 1e999 is valid text that merely fits no double
        }
        ASSERT_EQ(accepts(text), expected) << text;
        accepted += expected ? 1 : 0;
    }
    EXPECT_GT(accepted, 10'000U);
}

// Purpose: strings must be decoded to the same bytes as an independent parser finds.
TEST(JsonReader, decodes_strings_with_escapes_and_surrogate_pairs) {
    const std::string text = R"("\u0041\u00df\u20ac\ud83d\ude00\"\\\/\b\f\n\r\t plain ä")";
    JsonReader reader(text);
    EXPECT_EQ(reader.read_string(100), nlohmann::json::parse(text).get<std::string>());
    EXPECT_TRUE(reader.finish());
}

// Purpose: a written string must be read back unchanged, whatever bytes it has, if it is UTF-8.
TEST(AppendJsonString, round_trips_every_byte_below_128) {
    std::string text;
    for (int c = 0; c < 128; ++c) {
        text += static_cast<char>(c);
    }
    text += "ß€😀";
    std::string json;
    append_json_string(json, text);
    EXPECT_EQ(nlohmann::json::parse(json).get<std::string>(), text);
    JsonReader reader(json);
    EXPECT_EQ(reader.read_string(1000), text);
}

// Purpose: bytes that are not UTF-8 (a reason made of raw memory) must not make invalid JSON.
TEST(AppendJsonString, replaces_bytes_that_are_not_utf8) {
    for (const std::string text : {"a\xff"
                                   "b",
                                   "a\xc3"
                                   "b",
                                   "a\xed\xa0\x80"
                                   "b",
                                   "a\xf0\x80\x80\x80"
                                   "b"}) {
        std::string json;
        append_json_string(json, text);
        const std::string back = nlohmann::json::parse(json).get<std::string>();
        EXPECT_EQ(back.substr(0, 4), "a\xef\xbf\xbd") << text;
        EXPECT_EQ(back.back(), 'b');
    }
}

// Purpose: a hostile nesting must end in an error and not in a stack overflow.
TEST(JsonReader, refuses_nesting_beyond_its_limit) {
    EXPECT_TRUE(accepts(std::string(60, '[') + std::string(60, ']')));
    EXPECT_FALSE(accepts(std::string(100'000, '[')));
    JsonReader reader("[[1]]");
    reader.begin_array();
    reader.next_element();
    reader.begin_array();
    reader.next_element();
    EXPECT_EQ(reader.read_unsigned(), 1U);
    EXPECT_FALSE(reader.next_element());
    EXPECT_FALSE(reader.next_element());
    EXPECT_TRUE(reader.finish());
}

// Purpose: numbers with a fraction, a sign, a leading zero or too many digits are not counters.
TEST(JsonReader, reads_only_plain_non_negative_integers_as_counters) {
    for (const std::string text : {"-1", "1.0", "1e3", "01", "18446744073709551616", "", "x"}) {
        JsonReader reader(text);
        (void)reader.read_unsigned();
        EXPECT_FALSE(reader.finish()) << text;
    }
    JsonReader reader("18446744073709551615");
    EXPECT_EQ(reader.read_unsigned(), 18446744073709551615U);
    EXPECT_TRUE(reader.finish());
}

} // namespace
} // namespace concordat::wire
