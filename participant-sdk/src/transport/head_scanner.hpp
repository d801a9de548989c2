// Finds the end of a message head in bytes that arrive piece by piece.
//
// Why not leave it to the parser: the raw head is checked as a whole before anything is parsed, its
// size is limited, and a bare LF is refused at once instead of waiting for an end that never comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace concordat::transport::detail {

class HeadScanner {
public:
    enum class Result : std::uint8_t { incomplete, complete, bad_line_ending };

    // `bytes` begins with the head and grows from call to call. Each byte is looked at once.
    [[nodiscard]] Result scan(std::string_view bytes) noexcept {
        while (seen_ < bytes.size()) {
            const void* found = std::memchr(bytes.data() + seen_, '\n', bytes.size() - seen_);
            if (found == nullptr) {
                seen_ = bytes.size();
                break;
            }
            const auto feed =
                static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
            seen_ = feed + 1;
            if (feed == line_begin_ || bytes[feed - 1] != '\r') {
                return Result::bad_line_ending;
            }
            const bool empty_line = feed == line_begin_ + 1;
            line_begin_ = seen_;
            if (empty_line) {
                return Result::complete;
            }
        }
        return Result::incomplete;
    }

    // After `complete`: the size of the head with its empty line.
    [[nodiscard]] std::size_t head_size() const noexcept { return seen_; }
    void reset() noexcept { seen_ = line_begin_ = 0; }

private:
    std::size_t seen_ = 0;
    std::size_t line_begin_ = 0;
};

} // namespace concordat::transport::detail
