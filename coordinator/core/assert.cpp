#include "coordinator/core/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace concordat::core {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
    // stdio without formatting of our own: the heap may already be unusable.
    static_cast<void>(
        std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression));
    static_cast<void>(std::fflush(stderr));
    std::abort();
}

} // namespace concordat::core
