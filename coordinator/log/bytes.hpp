#pragma once

// Little-endian encoding for files and peer messages. The reader never reads past its input: the
// first short read makes it fail for good, and callers check ok() once at the end.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace concordat::log {

static_assert(std::endian::native == std::endian::little, "files and messages are little-endian");

class ByteWriter {
public:
    explicit ByteWriter(std::string& out) : out_(out) {}

    template <class Number>
    void number(Number value) {
        static_assert(std::is_unsigned_v<Number>);
        char raw[sizeof value];
        std::memcpy(raw, &value, sizeof value);
        out_.append(raw, sizeof value);
    }
    void bytes(std::string_view text) { out_.append(text); }
    void zeros(std::size_t count) { out_.append(count, '\0'); }

private:
    std::string& out_;
};

class ByteReader {
public:
    explicit ByteReader(std::string_view input) : rest_(input) {}

    template <class Number>
    [[nodiscard]] Number number() {
        static_assert(std::is_unsigned_v<Number>);
        Number value{};
        const std::string_view raw = bytes(sizeof value);
        if (ok_) {
            std::memcpy(&value, raw.data(), sizeof value);
        }
        return value;
    }
    [[nodiscard]] std::string_view bytes(std::size_t count) {
        if (!ok_ || count > rest_.size()) {
            ok_ = false;
            return {};
        }
        const std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }
    void skip(std::size_t count) { static_cast<void>(bytes(count)); }

    /// Nothing was read past the end so far.
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }

private:
    std::string_view rest_;
    bool ok_ = true;
};

[[nodiscard]] constexpr std::size_t round_up_to_8(std::size_t bytes) noexcept {
    return (bytes + 7) / 8 * 8;
}

} // namespace concordat::log
