#pragma once

// Assertions for bugs, not for expected failures: they stay on in release builds and stop the
// process, because a coordinator that continues on a broken invariant can lose money.

namespace concordat::core {

/// Prints expression, file and line to stderr and aborts. Never returns. Thread-safe.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

} // namespace concordat::core

#define CONCORDAT_ASSERT(expression)                                                               \
    ((expression) ? static_cast<void>(0)                                                           \
                  : ::concordat::core::assertion_failed(#expression, __FILE__, __LINE__))
