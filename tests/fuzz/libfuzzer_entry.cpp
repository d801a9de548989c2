// Entry point for libFuzzer (clang, -fsanitize=fuzzer); driver.cpp is its counterpart for every
// day.

#include "tests/fuzz/fuzz_target.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace concordat::fuzz {

void require(bool holds, const char* property) {
    if (!holds) {
        std::fprintf(stderr, "does not hold: %s\n", property);
        std::abort();
    }
}

} // namespace concordat::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    (void)concordat::fuzz::run_one({reinterpret_cast<const char*>(data), size});
    return 0;
}
