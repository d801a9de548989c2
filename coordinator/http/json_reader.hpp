#pragma once

// A strict pull reader of JSON request bodies.
//
// What: walks a JSON text once, hands out members as the decoder asks for them, and cuts the raw
// text of a value that is passed through (a branch's payload) without building or re-writing it.
// Why not a document tree: the payload must reach the participant byte for byte, errors must carry
// a JSON pointer, and a submission may cost a few microseconds only.
//
// Threading: one reader, one thread. Ownership: refers to the text, which must outlive it and
// every view it hands out. Errors: complaints about content are collected (at most 16) and reading
// goes on; broken syntax ends the reading. Nothing has happened when there are complaints.
// Source: RFC 8259, RFC 3629 (UTF-8), RFC 6901 (pointers).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::http {

/// One thing wrong with a request and where: a JSON pointer into the body, a query parameter or a
/// header field.
struct Complaint {
    enum class Place : std::uint8_t { body, query, header };
    Place place = Place::body;
    std::string where;
    std::string detail;
};

class JsonReader {
public:
    static constexpr std::size_t max_depth = 64;
    static constexpr std::size_t max_complaints = 16;
    static constexpr std::size_t max_members = 64; ///< of an object that is read member by member

    explicit JsonReader(std::string_view text) noexcept : text_(text) {}

    /// Calls `on_member(key)` for every member; it must consume the value by one of the calls
    /// below. Repeated keys are complaints. False when the value was not an object.
    template <class OnMember>
    bool object(OnMember&& on_member) {
        if (!open('{', "an object")) {
            return false;
        }
        std::vector<std::string> seen;
        std::string key;
        while (next_member(key, seen)) {
            path_.push_back({key, 0});
            on_member(std::string_view(key));
            path_.pop_back();
        }
        return !broken_;
    }

    /// Calls `on_element(index)` for every element, with the same duty.
    template <class OnElement>
    bool array(OnElement&& on_element) {
        if (!open('[', "an array")) {
            return false;
        }
        for (std::size_t index = 0; next_element(index); ++index) {
            path_.push_back({std::nullopt, index});
            on_element(index);
            path_.pop_back();
        }
        return !broken_;
    }

    /// Each reads one value. When it has another type: a complaint, the value is skipped, nothing.
    std::optional<std::string> string();
    std::optional<std::int64_t> integer(std::int64_t minimum, std::int64_t maximum);
    std::optional<bool> boolean();
    /// The exact text of any one valid value, without the white space around it.
    std::optional<std::string_view> raw();
    /// Skips an unknown member's value with a complaint.
    void unknown_member();

    /// A complaint about the value being read.
    void complain(std::string detail);
    /// A complaint about a member of the value being read, e.g. one that is missing.
    void complain_about(std::string_view member, std::string detail);
    /// After the top-level value: complains when more than white space follows.
    void finish();

    [[nodiscard]] bool broken() const noexcept { return broken_; }
    [[nodiscard]] const std::vector<Complaint>& complaints() const noexcept { return complaints_; }
    [[nodiscard]] std::vector<Complaint> take_complaints() { return std::move(complaints_); }

private:
    struct Step {
        std::optional<std::string> key;
        std::size_t index = 0;
    };

    bool open(char bracket, std::string_view expected);
    bool next_member(std::string& key, std::vector<std::string>& seen);
    bool next_element(std::size_t index);
    void skip_space() noexcept;
    void syntax_error(std::string_view detail);
    bool expected(std::string_view what);
    bool skip_value(std::size_t depth);
    bool skip_object(std::size_t depth);
    bool skip_array(std::size_t depth);
    bool skip_number();
    bool skip_literal(std::string_view literal);
    bool read_string(std::string* out);
    bool read_escape(std::string* out);
    bool read_unicode_escape(std::string* out);
    bool read_hex4(std::uint32_t& value);
    bool skip_utf8_sequence();
    [[nodiscard]] bool at_end() const noexcept { return position_ >= text_.size(); }
    [[nodiscard]] char peek() const noexcept { return at_end() ? '\0' : text_[position_]; }
    [[nodiscard]] std::string pointer() const;

    std::string_view text_;
    std::size_t position_ = 0;
    bool broken_ = false;
    std::vector<Step> path_;
    std::vector<Complaint> complaints_;
};

} // namespace concordat::http
