#include "participant-sdk/src/postgres/connection.hpp"

#include "participant-sdk/src/wire/json_text.hpp"

#include <charconv>

namespace concordat::postgres {

namespace {

std::uint64_t parse_number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

} // namespace

bool Rows::is_null(std::size_t row, int column) const {
    return result_ ? PQgetisnull(result_.get(), static_cast<int>(row), column) != 0
                   : !modelled_->table[row][static_cast<std::size_t>(column)];
}

std::string_view Rows::modelled_text(std::size_t row, int column) const {
    const Cell& cell = modelled_->table[row][static_cast<std::size_t>(column)];
    return cell ? std::string_view(*cell) : std::string_view{};
}

std::uint64_t Rows::number(std::size_t row, int column) const {
    return parse_number(text(row, column));
}

// The count is the last word of the tag: "INSERT 0 1", "DELETE 3".
std::uint64_t Rows::affected() const {
    if (result_) {
        return parse_number(PQcmdTuples(result_.get()));
    }
    return parse_number(std::string_view(modelled_->tag).substr(modelled_->tag.rfind(' ') + 1));
}

std::string quoted_literal(std::string_view text) {
    std::string literal = "'";
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = wire::utf8_length(text, at);
        if (length == 0 || text[at] == '\0') {
            literal += '?'; // no text of PostgreSQL can hold it
            ++at;
            continue;
        }
        if (text[at] == '\'') {
            literal += '\'';
        }
        literal.append(text.substr(at, length));
        at += length;
    }
    literal += '\'';
    return literal;
}

} // namespace concordat::postgres
