#include "coordinator/http/json_reader.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace concordat::http {
namespace {

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, std::uint32_t code_point) {
    const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xC0 | (code_point >> 6));
        put(0x80 | (code_point & 0x3F));
    } else if (code_point < 0x10000) {
        put(0xE0 | (code_point >> 12));
        put(0x80 | ((code_point >> 6) & 0x3F));
        put(0x80 | (code_point & 0x3F));
    } else {
        put(0xF0 | (code_point >> 18));
        put(0x80 | ((code_point >> 12) & 0x3F));
        put(0x80 | ((code_point >> 6) & 0x3F));
        put(0x80 | (code_point & 0x3F));
    }
}

/// Length of the well-formed UTF-8 sequence at the start of `text` (RFC 3629 §4); 0 = malformed.
std::size_t utf8_sequence_length(std::string_view text) noexcept {
    const auto byte = [&text](std::size_t at) -> unsigned {
        return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const auto continues = [&byte](std::size_t at) { return (byte(at) & 0xC0U) == 0x80U; };
    const unsigned first = byte(0);
    if (first >= 0xC2 && first <= 0xDF) {
        return continues(1) ? 2 : 0;
    }
    if (first >= 0xE0 && first <= 0xEF) {
        const bool overlong = first == 0xE0 && byte(1) < 0xA0;
        const bool surrogate = first == 0xED && byte(1) > 0x9F;
        return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        const bool overlong = first == 0xF0 && byte(1) < 0x90;
        const bool too_high = first == 0xF4 && byte(1) > 0x8F;
        return continues(1) && continues(2) && continues(3) && !overlong && !too_high ? 4 : 0;
    }
    return 0;
}

} // namespace

void JsonReader::skip_space() noexcept {
    while (!at_end()) {
        const char c = text_[position_];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
            return;
        }
        ++position_;
    }
}

std::string JsonReader::pointer() const {
    std::string out;
    for (const Step& step : path_) {
        out += '/';
        if (!step.key) {
            out += std::to_string(step.index);
            continue;
        }
        for (const char c : *step.key) {
            if (c == '~') {
                out += "~0";
            } else if (c == '/') {
                out += "~1";
            } else {
                out += c;
            }
        }
    }
    return out;
}

void JsonReader::complain(std::string detail) {
    if (complaints_.size() < max_complaints) {
        complaints_.push_back({Complaint::Place::body, pointer(), std::move(detail)});
    }
}

void JsonReader::complain_about(std::string_view member, std::string detail) {
    path_.push_back({std::string(member), 0});
    complain(std::move(detail));
    path_.pop_back();
}

void JsonReader::syntax_error(std::string_view detail) {
    if (broken_) {
        return;
    }
    broken_ = true;
    // The syntax error explains every complaint that a later reader could still have.
    complain("not JSON: " + std::string(detail) + " at byte " + std::to_string(position_));
}

bool JsonReader::expected(std::string_view what) {
    if (broken_) {
        return false;
    }
    const std::size_t known = complaints_.size();
    if (skip_value(path_.size()) && complaints_.size() == known) {
        complain("must be " + std::string(what));
    }
    return false;
}

bool JsonReader::open(char bracket, std::string_view what) {
    skip_space();
    if (broken_ || peek() != bracket) {
        return expected(what);
    }
    if (path_.size() >= max_depth) {
        syntax_error("nested too deeply");
        return false;
    }
    ++position_;
    return true;
}

bool JsonReader::next_member(std::string& key, std::vector<std::string>& seen) {
    if (broken_) {
        return false;
    }
    skip_space();
    if (peek() == '}') {
        ++position_;
        return false;
    }
    if (!seen.empty()) {
        if (peek() != ',') {
            syntax_error("expected ',' or '}'");
            return false;
        }
        ++position_;
        skip_space();
    }
    if (seen.size() >= max_members) {
        syntax_error("too many members");
        return false;
    }
    key.clear();
    if (peek() != '"') {
        syntax_error("expected a member name");
        return false;
    }
    if (!read_string(&key)) {
        return false;
    }
    skip_space();
    if (peek() != ':') {
        syntax_error("expected ':'");
        return false;
    }
    ++position_;
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
        complain_about(key, "appears more than once");
    }
    seen.push_back(key);
    return true;
}

bool JsonReader::next_element(std::size_t index) {
    if (broken_) {
        return false;
    }
    skip_space();
    if (peek() == ']') {
        ++position_;
        return false;
    }
    if (index == 0) {
        return true;
    }
    if (peek() != ',') {
        syntax_error("expected ',' or ']'");
        return false;
    }
    ++position_;
    skip_space();
    if (peek() == ']') {
        syntax_error("expected a value");
        return false;
    }
    return true;
}

std::optional<std::string> JsonReader::string() {
    skip_space();
    if (broken_ || peek() != '"') {
        expected("a string");
        return std::nullopt;
    }
    std::string out;
    if (!read_string(&out)) {
        return std::nullopt;
    }
    return out;
}

std::optional<std::int64_t> JsonReader::integer(std::int64_t minimum, std::int64_t maximum) {
    skip_space();
    if (broken_ || (peek() != '-' && !is_digit(peek()))) {
        expected("an integer");
        return std::nullopt;
    }
    const std::size_t begin = position_;
    if (!skip_number()) {
        return std::nullopt;
    }
    const std::string_view digits = text_.substr(begin, position_ - begin);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size() || value < minimum ||
        value > maximum) {
        complain("must be an integer from " + std::to_string(minimum) + " to " +
                 std::to_string(maximum));
        return std::nullopt;
    }
    return value;
}

std::optional<bool> JsonReader::boolean() {
    skip_space();
    if (!broken_ && peek() == 't') {
        return skip_literal("true") ? std::optional(true) : std::nullopt;
    }
    if (!broken_ && peek() == 'f') {
        return skip_literal("false") ? std::optional(false) : std::nullopt;
    }
    expected("true or false");
    return std::nullopt;
}

std::optional<std::string_view> JsonReader::raw() {
    skip_space();
    const std::size_t begin = position_;
    if (broken_ || !skip_value(path_.size())) {
        return std::nullopt;
    }
    return text_.substr(begin, position_ - begin);
}

void JsonReader::unknown_member() {
    if (raw()) {
        complain("is not a known member");
    }
}

void JsonReader::finish() {
    skip_space();
    if (!broken_ && !at_end()) {
        syntax_error("unexpected text after the value");
    }
}

bool JsonReader::skip_value(std::size_t depth) {
    skip_space();
    if (depth > max_depth) {
        syntax_error("nested too deeply");
        return false;
    }
    switch (peek()) {
    case '{':
        return skip_object(depth);
    case '[':
        return skip_array(depth);
    case '"':
        return read_string(nullptr);
    case 't':
        return skip_literal("true");
    case 'f':
        return skip_literal("false");
    case 'n':
        return skip_literal("null");
    default:
        return skip_number();
    }
}

bool JsonReader::skip_object(std::size_t depth) {
    ++position_;
    skip_space();
    if (peek() == '}') {
        ++position_;
        return true;
    }
    while (true) {
        skip_space();
        if (peek() != '"') {
            syntax_error("expected a member name");
            return false;
        }
        if (!read_string(nullptr)) {
            return false;
        }
        skip_space();
        if (peek() != ':') {
            syntax_error("expected ':'");
            return false;
        }
        ++position_;
        if (!skip_value(depth + 1)) {
            return false;
        }
        skip_space();
        const char c = peek();
        if (c != ',' && c != '}') {
            syntax_error("expected ',' or '}'");
            return false;
        }
        ++position_;
        if (c == '}') {
            return true;
        }
    }
}

bool JsonReader::skip_array(std::size_t depth) {
    ++position_;
    skip_space();
    if (peek() == ']') {
        ++position_;
        return true;
    }
    while (true) {
        if (!skip_value(depth + 1)) {
            return false;
        }
        skip_space();
        const char c = peek();
        if (c != ',' && c != ']') {
            syntax_error("expected ',' or ']'");
            return false;
        }
        ++position_;
        if (c == ']') {
            return true;
        }
    }
}

bool JsonReader::skip_literal(std::string_view literal) {
    if (text_.substr(position_, literal.size()) != literal) {
        syntax_error("expected a value");
        return false;
    }
    position_ += literal.size();
    return true;
}

bool JsonReader::skip_number() {
    const auto digits = [this] {
        const std::size_t begin = position_;
        while (is_digit(peek())) {
            ++position_;
        }
        return position_ - begin;
    };
    if (peek() == '-') {
        ++position_;
    }
    const bool leading_zero = peek() == '0';
    const std::size_t whole = digits();
    if (whole == 0 || (leading_zero && whole > 1)) {
        syntax_error("expected a value");
        return false;
    }
    if (peek() == '.') {
        ++position_;
        if (digits() == 0) {
            syntax_error("expected a digit");
            return false;
        }
    }
    if (peek() == 'e' || peek() == 'E') {
        ++position_;
        if (peek() == '+' || peek() == '-') {
            ++position_;
        }
        if (digits() == 0) {
            syntax_error("expected a digit");
            return false;
        }
    }
    return true;
}

bool JsonReader::read_string(std::string* out) {
    ++position_;
    while (true) {
        // The common case, a run of plain ASCII, is one append.
        const std::size_t begin = position_;
        while (!at_end()) {
            const auto c = static_cast<unsigned char>(text_[position_]);
            if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') {
                break;
            }
            ++position_;
        }
        if (out != nullptr) {
            out->append(text_, begin, position_ - begin);
        }
        if (at_end()) {
            syntax_error("unterminated string");
            return false;
        }
        const auto c = static_cast<unsigned char>(text_[position_]);
        if (c == '"') {
            ++position_;
            return true;
        }
        if (c < 0x20) {
            syntax_error("control character in a string");
            return false;
        }
        const std::size_t special = position_;
        const bool escape = c == '\\';
        if (escape ? !read_escape(out) : !skip_utf8_sequence()) {
            return false;
        }
        if (!escape && out != nullptr) {
            out->append(text_, special, position_ - special);
        }
    }
}

bool JsonReader::skip_utf8_sequence() {
    const std::size_t length = utf8_sequence_length(text_.substr(position_));
    if (length == 0) {
        syntax_error("invalid UTF-8");
        return false;
    }
    position_ += length;
    return true;
}

bool JsonReader::read_escape(std::string* out) {
    ++position_;
    const char c = peek();
    ++position_;
    static constexpr std::string_view escapes = "\"\\/bfnrt";
    static constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    if (c == 'u') {
        return read_unicode_escape(out);
    }
    const std::size_t which = c == '\0' ? std::string_view::npos : escapes.find(c);
    if (which == std::string_view::npos) {
        syntax_error("invalid escape in a string");
        return false;
    }
    if (out != nullptr) {
        *out += meanings[which];
    }
    return true;
}

bool JsonReader::read_hex4(std::uint32_t& value) {
    const std::string_view digits = text_.substr(std::min(position_, text_.size()), 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 4 || error != std::errc{} || end != digits.data() + 4) {
        syntax_error("invalid \\u escape");
        return false;
    }
    position_ += 4;
    return true;
}

bool JsonReader::read_unicode_escape(std::string* out) {
    std::uint32_t code_point = 0;
    if (!read_hex4(code_point)) {
        return false;
    }
    if (code_point >= 0xD800 && code_point <= 0xDBFF) {
        std::uint32_t low = 0;
        if (text_.substr(position_, 2) != "\\u") {
            syntax_error("lone surrogate in a string");
            return false;
        }
        position_ += 2;
        if (!read_hex4(low)) {
            return false;
        }
        if (low < 0xDC00 || low > 0xDFFF) {
            syntax_error("lone surrogate in a string");
            return false;
        }
        code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
    } else if (code_point >= 0xDC00 && code_point <= 0xDFFF) {
        syntax_error("lone surrogate in a string");
        return false;
    }
    if (out != nullptr) {
        append_utf8(*out, code_point);
    }
    return true;
}

} // namespace concordat::http
