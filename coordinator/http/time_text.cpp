#include "coordinator/http/time_text.hpp"

#include <array>
#include <charconv>
#include <system_error>

namespace concordat::http {
namespace {

void append_digits(std::string& out, std::uint64_t value, std::size_t width) {
    std::array<char, 20> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    static_cast<void>(error); // twenty digits always fit
    const auto length = static_cast<std::size_t>(end - buffer.data());
    if (length < width) {
        out.append(width - length, '0');
    }
    out.append(buffer.data(), length);
}

struct Unit {
    std::string_view suffix;
    core::Duration size;
};
constexpr std::array<Unit, 4> units{{{"h", std::chrono::hours{1}},
                                     {"m", std::chrono::minutes{1}},
                                     {"s", std::chrono::seconds{1}},
                                     {"ms", std::chrono::milliseconds{1}}}};
constexpr core::Duration longest_duration = std::chrono::hours{24 * 365};

} // namespace

void append_time(std::string& out, core::WallTime time) {
    using namespace std::chrono;
    const auto day = floor<days>(time);
    const year_month_day date{day};
    const hh_mm_ss<milliseconds> clock{time - day};
    out += '"';
    append_digits(out, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
    out += '-';
    append_digits(out, static_cast<unsigned>(date.month()), 2);
    out += '-';
    append_digits(out, static_cast<unsigned>(date.day()), 2);
    out += 'T';
    append_digits(out, static_cast<std::uint64_t>(clock.hours().count()), 2);
    out += ':';
    append_digits(out, static_cast<std::uint64_t>(clock.minutes().count()), 2);
    out += ':';
    append_digits(out, static_cast<std::uint64_t>(clock.seconds().count()), 2);
    out += '.';
    append_digits(out, static_cast<std::uint64_t>(clock.subseconds().count()), 3);
    out += "Z\"";
}

std::optional<core::Duration> parse_duration(std::string_view text) {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || count < 0 || text.front() == '-') {
        return std::nullopt;
    }
    const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const Unit& unit : units) {
        if (suffix == unit.suffix) {
            if (count > longest_duration / unit.size) {
                return std::nullopt;
            }
            return count * unit.size;
        }
    }
    return std::nullopt;
}

std::string format_duration(core::Duration duration) {
    if (duration > core::Duration::zero()) {
        for (const Unit& unit : units) {
            if (duration % unit.size == core::Duration::zero()) {
                return std::to_string(duration / unit.size) + std::string(unit.suffix);
            }
        }
    }
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()) +
           "ms";
}

} // namespace concordat::http
