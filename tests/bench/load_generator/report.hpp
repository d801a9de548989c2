// One run's figures, for people (a table) and for programs (one JSON object).
#pragma once

#include "tests/bench/load_generator/driver.hpp"
#include "tests/bench/load_generator/observation.hpp"
#include "tests/bench/load_generator/options.hpp"
#include "tests/bench/load_generator/participants.hpp"

#include <optional>
#include <string>
#include <vector>

namespace concordat::bench {

struct Report {
    Options options;
    DriverResult result;
    CoordinatorCounters before; // at the edges of the measured window
    CoordinatorCounters after;
    ParticipantCounts participants; // in the window
};

struct Figures {
    double per_second = 0;
    // Per transaction; CPU in milliseconds. One value per --pid or --url, none where unreadable.
    std::vector<std::optional<double>> cpu_milliseconds;
    std::vector<std::optional<double>> fsyncs;
    double http_exchanges_per_transaction = 0; // with the participants: 4 without batching
};

[[nodiscard]] Figures figures_of(const Report& report);
[[nodiscard]] std::string as_table(const Report& report);
[[nodiscard]] std::string as_json(const Report& report);

} // namespace concordat::bench
