#include "participant-sdk/src/transport/message.hpp"

#include <algorithm>

namespace concordat::transport {

namespace {

constexpr char lower(char character) noexcept {
    return character >= 'A' && character <= 'Z' ? static_cast<char>(character + ('a' - 'A'))
                                                : character;
}

} // namespace

bool equals_ignoring_case(std::string_view left, std::string_view right) noexcept {
    return left.size() == right.size() &&
           std::equal(left.begin(), left.end(), right.begin(),
                      [](char a, char b) { return a == b || lower(a) == lower(b); });
}

void Headers::add(std::string_view name, std::string_view value) {
    const Slot slot{.name_begin = static_cast<std::uint32_t>(text_.size()),
                    .name_size = static_cast<std::uint32_t>(name.size()),
                    .value_begin = static_cast<std::uint32_t>(text_.size() + name.size()),
                    .value_size = static_cast<std::uint32_t>(value.size())};
    text_.append(name);
    text_.append(value);
    slots_.push_back(slot);
}

void Headers::set(std::string_view name, std::string_view value) {
    remove(name);
    add(name, value);
}

// The text of removed fields stays until the list is cleared: lists are short-lived.
void Headers::remove(std::string_view name) {
    std::erase_if(slots_, [&](const Slot& slot) {
        return equals_ignoring_case(std::string_view{text_}.substr(slot.name_begin, slot.name_size),
                                    name);
    });
}

void Headers::clear() noexcept {
    text_.clear();
    slots_.clear();
}

void Headers::reserve(std::size_t text_bytes, std::size_t fields) {
    text_.reserve(text_bytes);
    slots_.reserve(fields);
}

std::optional<std::string_view> Headers::find(std::string_view name) const noexcept {
    for (const Header header : *this) {
        if (equals_ignoring_case(header.name, name)) {
            return header.value;
        }
    }
    return std::nullopt;
}

bool Headers::contains(std::string_view name) const noexcept {
    return find(name).has_value();
}

std::size_t Headers::count(std::string_view name) const noexcept {
    return static_cast<std::size_t>(std::count_if(begin(), end(), [&](const Header& header) {
        return equals_ignoring_case(header.name, name);
    }));
}

Header Headers::at(std::size_t index) const noexcept {
    const Slot& slot = slots_[index];
    const char* text = text_.data();
    return {.name = {text + slot.name_begin, slot.name_size},
            .value = {text + slot.value_begin, slot.value_size}};
}

std::string_view Request::path() const noexcept {
    return std::string_view{target}.substr(0, target.find('?'));
}

std::string_view Request::query() const noexcept {
    const std::size_t mark = target.find('?');
    return mark == std::string::npos ? std::string_view{}
                                     : std::string_view{target}.substr(mark + 1);
}

} // namespace concordat::transport
