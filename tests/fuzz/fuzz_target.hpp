#pragma once

// One fuzz target: a parser of bytes that come from outside, and what must hold of it for any
// bytes.
//
// A target is one .cpp file that defines the two functions below. With driver.cpp it becomes a test
// that mutates the seeds, deterministically, a fixed number of times; with libfuzzer_entry.cpp and
// clang it becomes a libFuzzer program for long runs (see CMakeLists.txt).

#include <string>
#include <string_view>
#include <vector>

namespace concordat::fuzz {

/// Inputs that the parser accepts, at least one; mutations start from them.
[[nodiscard]] std::vector<std::string> seeds();

/// Feeds one input; true when it was accepted. A property that does not hold is a failed require().
[[nodiscard]] bool run_one(std::string_view input);

/// Stops the process when `holds` is false; the driver has said which input it was.
void require(bool holds, const char* property);

} // namespace concordat::fuzz
