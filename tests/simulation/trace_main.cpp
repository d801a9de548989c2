// simulation_trace [FIRST [COUNT]]: the raw traces of COUNT runs from seed FIRST, each after a line
// "# seed N", for tests/models/check_traces.py. CONCORDAT_TRACE=<file> takes them instead of the
// standard output. A violation ends the program with 1.

#include "tests/simulation/world.hpp"

#include <cstdio>
#include <cstdlib>

int main(int count, char** arguments) {
    const auto number = [&](int place, std::uint64_t otherwise) {
        return count > place ? std::strtoull(arguments[place], nullptr, 10) : otherwise;
    };
    const std::uint64_t first = number(1, 1);
    const std::uint64_t runs = number(2, 1);
    const char* const path = std::getenv("CONCORDAT_TRACE");
    std::FILE* const file = path == nullptr ? stdout : std::fopen(path, "w");
    if (file == nullptr) {
        std::perror(path);
        return 2;
    }
    int status = 0;
    for (std::uint64_t seed = first; seed < first + runs && status == 0; ++seed) {
        std::fprintf(file, "# seed %llu\n", static_cast<unsigned long long>(seed));
        try {
            concordat::simulation::World(seed, concordat::simulation::Bug::none,
                                         [file](std::string_view line) {
                                             std::fwrite(line.data(), 1, line.size(), file);
                                             std::fputc('\n', file);
                                         })
                .run();
        } catch (const concordat::simulation::Violation& violation) {
            std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                         violation.what());
            status = 1;
        }
    }
    if (std::fflush(file) != 0 || std::ferror(file) != 0) {
        std::perror("the trace is incomplete");
        status = 2;
    }
    return status;
}
