#pragma once

// Reading and writing JSON text without building a document.
//
// What: an appender for strings and numbers, and a strict pull reader (RFC 8259) that visits each
// byte once and can cut a value out of the text unparsed.
// Why: a branch payload is passed through as the bytes that came in; and on the path of every
// participant call a document tree would cost more than the rest of the message.
//
// Threading: values. Ownership: the reader refers to the text, which must outlive it and the views
// it hands out. Errors: the first one sticks; every later read returns an empty value.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::wire {

/// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
void append_json_number(std::string& out, std::uint64_t number);

class JsonReader {
public:
    static constexpr std::size_t max_depth = 64;

    explicit JsonReader(std::string_view text) : text_(text) {}

    /// while (reader.begin_object(), reader.next_member(name)) … : opens an object; false at its
    /// end or after an error. Every member's value must be read or skipped before the next.
    bool begin_object();
    bool next_member(std::string& name);
    bool begin_array();
    bool next_element();

    [[nodiscard]] std::string read_string(std::size_t max_bytes);
    [[nodiscard]] std::uint64_t
    read_unsigned(std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
    [[nodiscard]] bool read_bool();
    /// Any value, checked but not decoded, as it stands in the text.
    [[nodiscard]] std::string_view read_raw();
    /// Consumes a null if one stands here.
    bool try_null();
    /// Only white space is left. An error otherwise.
    bool finish();

    /// Records an error at the value being read, unless there is one already.
    void fail(std::string detail);
    [[nodiscard]] bool failed() const noexcept { return failed_; }
    [[nodiscard]] const std::string& error_pointer() const noexcept { return pointer_; }
    [[nodiscard]] const std::string& error_detail() const noexcept { return detail_; }

private:
    struct Level {
        bool is_array = false;
        bool fresh = true;
        std::size_t index = 0;
        std::string name;
    };

    void skip_space() noexcept;
    [[nodiscard]] char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char wanted) noexcept;
    bool open(char bracket, bool is_array);
    bool separator(char closing);
    void skip_value(std::size_t depth);
    void skip_container(std::size_t depth, bool is_object);
    void skip_number();
    bool take_word(std::string_view word) noexcept;
    /// `decoded` null: only check.
    void scan_string(std::string* decoded, std::size_t max_bytes);
    std::optional<std::uint32_t> scan_hex();
    bool scan_escape(std::string* decoded);
    bool scan_unicode_escape(std::string* decoded);

    std::string_view text_;
    std::size_t at_ = 0;
    std::vector<Level> levels_;
    bool failed_ = false;
    std::string pointer_;
    std::string detail_;
};

/// Length of the UTF-8 sequence that starts at `at`; 0 when it is not well-formed (RFC 3629).
[[nodiscard]] std::size_t utf8_length(std::string_view text, std::size_t at) noexcept;

} // namespace concordat::wire
