#pragma once

// Random changes of bytes. The same seed gives the same changes on every machine.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace concordat::fuzz {

class Mutator {
public:
    static constexpr std::size_t max_input_bytes = 4096;

    Mutator(std::uint64_t seed, const std::vector<std::string>& corpus)
        : state_(seed), corpus_(corpus) {}

    /// A seed with one to eight changes.
    [[nodiscard]] std::string next();

private:
    [[nodiscard]] std::uint64_t random();
    [[nodiscard]] std::size_t below(std::size_t bound);
    void change(std::string& input);

    std::uint64_t state_;
    const std::vector<std::string>& corpus_;
};

} // namespace concordat::fuzz
