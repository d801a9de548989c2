#include "participant-sdk/src/wire/json_text.hpp"

#include <array>
#include <charconv>
#include <utility>

namespace concordat::wire {

namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_continuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

void append_utf8(std::string& out, std::uint32_t code) {
    const auto byte = [&out](std::uint32_t value) { out += static_cast<char>(value); };
    if (code < 0x80) {
        byte(code);
    } else if (code < 0x800) {
        byte(0xC0U | (code >> 6U));
        byte(0x80U | (code & 0x3FU));
    } else if (code < 0x10000) {
        byte(0xE0U | (code >> 12U));
        byte(0x80U | ((code >> 6U) & 0x3FU));
        byte(0x80U | (code & 0x3FU));
    } else {
        byte(0xF0U | (code >> 18U));
        byte(0x80U | ((code >> 12U) & 0x3FU));
        byte(0x80U | ((code >> 6U) & 0x3FU));
        byte(0x80U | (code & 0x3FU));
    }
}

void append_escaped(std::string& out, char c) {
    switch (c) {
    case '"':
        out += "\\\"";
        return;
    case '\\':
        out += "\\\\";
        return;
    case '\n':
        out += "\\n";
        return;
    case '\r':
        out += "\\r";
        return;
    case '\t':
        out += "\\t";
        return;
    default:
        break;
    }
    const auto value = static_cast<unsigned char>(c);
    out += "\\u00";
    out += hex_digits[value >> 4U];
    out += hex_digits[value & 0x0FU];
}

} // namespace

std::size_t utf8_length(std::string_view text, std::size_t at) noexcept {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || at + length > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if (!is_continuation(text[at + i])) {
            return 0;
        }
    }
    if (length >= 3) { // overlong forms, surrogates and what lies beyond U+10FFFF
        const auto second = static_cast<unsigned char>(text[at + 1]);
        if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
            (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
            return 0;
        }
    }
    return length;
}

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    std::size_t plain = 0; // start of the run that needs no escape
    std::size_t at = 0;
    const auto flush = [&] { out.append(text.substr(plain, at - plain)); };
    while (at < text.size()) {
        const auto value = static_cast<unsigned char>(text[at]);
        if (value >= 0x80) {
            const std::size_t length = utf8_length(text, at);
            if (length == 0) {
                flush();
                out += "\\ufffd";
                plain = ++at;
            } else {
                at += length;
            }
        } else if (value < 0x20 || value == '"' || value == '\\' || value == 0x7F) {
            flush();
            append_escaped(out, text[at]);
            plain = ++at;
        } else {
            ++at;
        }
    }
    flush();
    out += '"';
}

void append_json_number(std::string& out, std::uint64_t number) {
    std::array<char, 20> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    out.append(digits.data(), end);
}

void JsonReader::fail(std::string detail) {
    if (failed_) {
        return;
    }
    failed_ = true;
    detail_ = std::move(detail);
    for (const Level& level : levels_) {
        if (level.is_array) {
            pointer_ += '/';
            append_json_number(pointer_, level.index);
            continue;
        }
        if (level.fresh) {
            break; // the object itself is at fault
        }
        pointer_ += '/';
        for (const char c : level.name) {
            if (c == '~') {
                pointer_ += "~0";
            } else if (c == '/') {
                pointer_ += "~1";
            } else {
                pointer_ += c;
            }
        }
    }
}

void JsonReader::skip_space() noexcept {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
        ++at_;
    }
}

bool JsonReader::take(char wanted) noexcept {
    if (peek() != wanted || at_ >= text_.size()) {
        return false;
    }
    ++at_;
    return true;
}

bool JsonReader::take_word(std::string_view word) noexcept {
    if (text_.substr(at_, word.size()) != word) {
        return false;
    }
    at_ += word.size();
    return true;
}

bool JsonReader::open(char bracket, bool is_array) {
    skip_space();
    if (failed_) {
        return false;
    }
    if (!take(bracket)) {
        fail(is_array ? "must be an array" : "must be an object");
        return false;
    }
    if (levels_.size() >= max_depth) {
        fail("is nested too deeply");
        return false;
    }
    levels_.push_back({.is_array = is_array, .fresh = true, .index = 0, .name = {}});
    return true;
}

bool JsonReader::begin_object() {
    return open('{', false);
}
bool JsonReader::begin_array() {
    return open('[', true);
}

// Moves to the next item: false at the closing bracket (which is consumed) or on an error.
bool JsonReader::separator(char closing) {
    if (failed_ || levels_.empty()) {
        return false;
    }
    skip_space();
    if (take(closing)) {
        levels_.pop_back();
        return false;
    }
    Level& level = levels_.back();
    if (!level.fresh) {
        if (!take(',')) {
            fail("is followed by something that is neither a comma nor the end");
            return false;
        }
        ++level.index;
        skip_space();
    }
    return true;
}

bool JsonReader::next_member(std::string& name) {
    if (!separator('}')) {
        return false;
    }
    name.clear();
    scan_string(&name, 256);
    if (failed_) {
        return false;
    }
    levels_.back().fresh = false;
    levels_.back().name = name;
    skip_space();
    if (!take(':')) {
        fail("has no colon after its name");
        return false;
    }
    skip_space();
    return true;
}

bool JsonReader::next_element() {
    if (!separator(']')) {
        return false;
    }
    levels_.back().fresh = false;
    return true;
}

std::string JsonReader::read_string(std::size_t max_bytes) {
    std::string text;
    skip_space();
    if (!failed_) {
        scan_string(&text, max_bytes);
    }
    if (failed_) {
        text.clear();
    }
    return text;
}

std::uint64_t JsonReader::read_unsigned(std::uint64_t max) {
    skip_space();
    if (failed_) {
        return 0;
    }
    const std::size_t begin = at_;
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    at_ = static_cast<std::size_t>(end - text_.data());
    const char next = peek();
    if (error == std::errc::invalid_argument || next == '.' || next == 'e' || next == 'E' ||
        (text_[begin] == '0' && at_ - begin > 1)) {
        fail("must be a non-negative whole number");
        return 0;
    }
    if (error == std::errc::result_out_of_range || value > max) {
        fail("is too large");
        return 0;
    }
    return value;
}

bool JsonReader::read_bool() {
    skip_space();
    if (failed_) {
        return false;
    }
    if (take_word("true")) {
        return true;
    }
    if (!take_word("false")) {
        fail("must be true or false");
    }
    return false;
}

bool JsonReader::try_null() {
    skip_space();
    return !failed_ && take_word("null");
}

std::string_view JsonReader::read_raw() {
    skip_space();
    const std::size_t begin = at_;
    if (!failed_) {
        skip_value(levels_.size());
    }
    return failed_ ? std::string_view{} : text_.substr(begin, at_ - begin);
}

bool JsonReader::finish() {
    skip_space();
    if (!failed_ && at_ != text_.size()) {
        fail("is followed by further text");
    }
    return !failed_;
}

void JsonReader::skip_value(std::size_t depth) {
    if (depth > max_depth) {
        fail("is nested too deeply");
        return;
    }
    switch (peek()) {
    case '{':
        skip_container(depth, true);
        return;
    case '[':
        skip_container(depth, false);
        return;
    case '"':
        scan_string(nullptr, text_.size());
        return;
    default:
        break;
    }
    if (take_word("true") || take_word("false") || take_word("null")) {
        return;
    }
    skip_number();
}

void JsonReader::skip_container(std::size_t depth, bool is_object) {
    const char closing = is_object ? '}' : ']';
    ++at_;
    skip_space();
    if (take(closing)) {
        return;
    }
    while (!failed_) {
        if (is_object) {
            scan_string(nullptr, text_.size());
            skip_space();
            if (!failed_ && !take(':')) {
                fail("is not valid JSON");
            }
            skip_space();
        }
        if (!failed_) {
            skip_value(depth + 1);
        }
        skip_space();
        if (failed_ || take(closing)) {
            return;
        }
        if (!take(',')) {
            fail("is not valid JSON");
        }
        skip_space();
    }
}

void JsonReader::skip_number() {
    const auto digits = [this] {
        const std::size_t begin = at_;
        while (is_digit(peek())) {
            ++at_;
        }
        return at_ > begin;
    };
    take('-');
    bool valid = take('0') || digits();
    if (valid && take('.')) {
        valid = digits();
    }
    if (valid && (take('e') || take('E'))) {
        if (!take('+')) {
            take('-');
        }
        valid = digits();
    }
    if (!valid) {
        fail("is not valid JSON");
    }
}

void JsonReader::scan_string(std::string* decoded, std::size_t max_bytes) {
    if (!take('"')) {
        fail("must be a string");
        return;
    }
    while (at_ < text_.size()) {
        const char c = text_[at_];
        if (c == '"') {
            ++at_;
            if (decoded != nullptr && decoded->size() > max_bytes) {
                fail("is too long");
            }
            return;
        }
        if (static_cast<unsigned char>(c) < 0x20) {
            break;
        }
        if (c == '\\') {
            if (!scan_escape(decoded)) {
                break;
            }
            continue;
        }
        const std::size_t length = utf8_length(text_, at_);
        if (length == 0) {
            break;
        }
        if (decoded != nullptr) {
            decoded->append(text_.substr(at_, length));
        }
        at_ += length;
    }
    fail("is not a valid JSON string");
}

bool JsonReader::scan_escape(std::string* decoded) {
    ++at_;
    const char kind = peek();
    ++at_;
    char plain = '\0';
    switch (kind) {
    case '"':
        plain = '"';
        break;
    case '\\':
        plain = '\\';
        break;
    case '/':
        plain = '/';
        break;
    case 'b':
        plain = '\b';
        break;
    case 'f':
        plain = '\f';
        break;
    case 'n':
        plain = '\n';
        break;
    case 'r':
        plain = '\r';
        break;
    case 't':
        plain = '\t';
        break;
    case 'u':
        return scan_unicode_escape(decoded);
    default:
        return false;
    }
    if (decoded != nullptr) {
        *decoded += plain;
    }
    return true;
}

std::optional<std::uint32_t> JsonReader::scan_hex() {
    if (at_ + 4 > text_.size()) {
        return std::nullopt;
    }
    std::uint32_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, begin + 4, value, 16);
    if (error != std::errc{} || end != begin + 4) {
        return std::nullopt;
    }
    at_ += 4;
    return value;
}

// A surrogate counts only as the first half of a pair.
bool JsonReader::scan_unicode_escape(std::string* decoded) {
    auto code = scan_hex();
    if (!code || (*code >= 0xDC00 && *code <= 0xDFFF)) {
        return false;
    }
    if (*code >= 0xD800 && *code <= 0xDBFF) {
        if (!take_word("\\u")) {
            return false;
        }
        const auto low = scan_hex();
        if (!low || *low < 0xDC00 || *low > 0xDFFF) {
            return false;
        }
        code = 0x10000 + ((*code - 0xD800) << 10U) + (*low - 0xDC00);
    }
    if (decoded != nullptr) {
        append_utf8(*decoded, *code);
    }
    return true;
}

} // namespace concordat::wire
