#include "tests/fuzz/mutator.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace concordat::fuzz {
namespace {

// Bytes and pieces at which parsers decide something.
constexpr std::array<std::string_view, 22> pieces{"\r\n",
                                                  "\r\n\r\n",
                                                  "\n",
                                                  " ",
                                                  "\t",
                                                  ":",
                                                  ",",
                                                  "\"",
                                                  "\\",
                                                  "{",
                                                  "}",
                                                  "[[[[",
                                                  "\\u0000",
                                                  "\\ud800",
                                                  "%00",
                                                  "%",
                                                  "0",
                                                  "-1",
                                                  "18446744073709551616",
                                                  "1e999",
                                                  "chunked",
                                                  "Content-Length: 1\r\n"};

} // namespace

// SplitMix64 (Steele, Lea, Flood 2014).
std::uint64_t Mutator::random() {
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31U);
}

std::size_t Mutator::below(std::size_t bound) {
    return bound == 0 ? 0 : static_cast<std::size_t>(random() % bound);
}

void Mutator::change(std::string& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = std::min(below(32) + 1, input.size() - at);
    switch (below(8)) {
    case 0: // flip one bit
        if (at < input.size()) {
            input[at] = static_cast<char>(static_cast<unsigned char>(input[at]) ^ (1U << below(8)));
        }
        return;
    case 1:
        if (at < input.size()) {
            input[at] = static_cast<char>(random());
        }
        return;
    case 2:
        input.erase(at, length);
        return;
    case 3: // repeat a piece
        input.insert(at, input.substr(at, length));
        return;
    case 4:
        input.insert(at, pieces.at(below(pieces.size())));
        return;
    case 5:
        input.resize(at);
        return;
    case 6: { // go on with another seed
        const std::string& other = corpus_.at(below(corpus_.size()));
        input.replace(at, std::string::npos, other, below(other.size() + 1), std::string::npos);
        return;
    }
    default: // all ones: lengths and counts at their limits
        std::fill_n(input.begin() + static_cast<std::ptrdiff_t>(at),
                    std::min<std::size_t>(length, 8), '\xff');
        return;
    }
}

std::string Mutator::next() {
    std::string input = corpus_.at(below(corpus_.size()));
    const std::size_t changes = below(8) + 1;
    for (std::size_t i = 0; i < changes; ++i) {
        change(input);
    }
    input.resize(std::min(input.size(), max_input_bytes));
    return input;
}

} // namespace concordat::fuzz
