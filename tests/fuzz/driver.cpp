// Runs a fuzz target on its seeds, on every prefix of them, and on mutations of them.
//
//   NAME [--rounds N] [--seed S]     S is printed first; the same seed gives the same inputs
//   NAME --hex BYTES                 one input, as a failure prints it

#include "tests/fuzz/fuzz_target.hpp"
#include "tests/fuzz/mutator.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

namespace concordat::fuzz {
namespace {

std::string current_input;

// Called by a signal handler too: only write(2).
void print_current_input() noexcept {
    constexpr std::string_view digits = "0123456789abcdef";
    constexpr std::string_view text = "\nreplay with: --hex ";
    std::string_view rest = text;
    while (!rest.empty()) {
        const ssize_t written = ::write(STDERR_FILENO, rest.data(), rest.size());
        if (written <= 0) {
            return;
        }
        rest.remove_prefix(static_cast<std::size_t>(written));
    }
    for (const char byte : current_input) {
        const auto value = static_cast<unsigned char>(byte);
        const char pair[2] = {digits[value >> 4U], digits[value & 15U]};
        if (::write(STDERR_FILENO, pair, 2) != 2) {
            return;
        }
    }
    if (::write(STDERR_FILENO, "\n", 1) != 1) {
        return;
    }
}

void on_fatal_signal(int number) {
    print_current_input();
    std::signal(number, SIG_DFL);
    std::raise(number);
}

bool feed(std::string input) {
    current_input = std::move(input);
    return run_one(current_input);
}

std::string from_hex(std::string_view hex) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes.push_back(
            static_cast<char>(std::strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16)));
    }
    return bytes;
}

struct Arguments {
    std::uint64_t rounds = 200'000;
    std::uint64_t seed = 1;
    std::string hex;
    bool one_input = false;
};

Arguments parse(int count, char** values) {
    Arguments arguments;
    for (int i = 1; i + 1 < count; i += 2) {
        const std::string_view name = values[i];
        if (name == "--rounds") {
            arguments.rounds = std::strtoull(values[i + 1], nullptr, 10);
        } else if (name == "--seed") {
            arguments.seed = std::strtoull(values[i + 1], nullptr, 10);
        } else if (name == "--hex") {
            arguments.hex = values[i + 1];
            arguments.one_input = true;
        }
    }
    return arguments;
}

int run(const Arguments& arguments) {
    if (arguments.one_input) {
        std::puts(feed(from_hex(arguments.hex)) ? "accepted" : "refused");
        return 0;
    }
    std::printf("seed %llu, %llu rounds\n", static_cast<unsigned long long>(arguments.seed),
                static_cast<unsigned long long>(arguments.rounds));
    std::fflush(stdout);
    const std::vector<std::string> corpus = seeds();
    require(!corpus.empty(), "a target has seeds");
    std::uint64_t accepted = 0;
    for (const std::string& seed : corpus) {
        require(feed(seed), "a seed is accepted");
        for (std::size_t length = 0; length <= seed.size(); ++length) {
            accepted += feed(seed.substr(0, length)) ? 1U : 0U;
        }
    }
    Mutator mutator(arguments.seed, corpus);
    for (std::uint64_t round = 0; round < arguments.rounds; ++round) {
        accepted += feed(mutator.next()) ? 1U : 0U;
    }
    std::printf("%llu inputs accepted\n", static_cast<unsigned long long>(accepted));
    require(accepted > corpus.size(), "some mutations are accepted, too");
    return 0;
}

} // namespace

void require(bool holds, const char* property) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", property);
        std::abort();
    }
}

} // namespace concordat::fuzz

int main(int count, char** values) {
    for (const int number : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL}) {
        std::signal(number, concordat::fuzz::on_fatal_signal);
    }
    try {
        return concordat::fuzz::run(concordat::fuzz::parse(count, values));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "an exception got out: %s\n", error.what());
        std::abort();
    }
}
