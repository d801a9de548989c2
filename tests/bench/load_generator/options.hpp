// What one run of the load generator does. Filled from the command line by main.cpp, checked by
// validate(); every other part only reads it.
#pragma once

#include "participant-sdk/src/transport/uri.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

namespace concordat::bench {

struct Options {
    std::vector<std::string> urls;      // coordinator nodes; clients are spread over them in turn
    std::vector<int> coordinator_pids;  // for CPU per transaction; may be empty
    std::size_t clients = 64;           // closed loop: each has one transaction outstanding
    double rate = 0;                    // open loop: transactions per second; 0 = closed loop
    std::size_t max_outstanding = 4096; // open loop: arrivals beyond it are counted as not sent
    double seconds = 10;                // measured window
    double warm_up_seconds = 2;         // before it, not counted
    std::size_t branches = 2;           // per transaction, alternating between the two participants
    std::size_t payload_bytes = 100;    // per branch
    std::size_t threads = 1;            // io threads of this process, participants included
    bool batch = true;                  // participants announce the batched exchange
    std::chrono::milliseconds request_timeout{30000};
    std::string json_path;      // "-" = standard output instead of the table; "" = none
    std::string label = "load"; // copied into the report
};

// Origins of options.urls, or a sentence that says which value is wrong.
[[nodiscard]] std::expected<std::vector<transport::Origin>, std::string>
validate(const Options& options);

} // namespace concordat::bench
