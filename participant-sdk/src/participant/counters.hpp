#pragma once

// What a participant counts; read together by Participant::figures().

#include <atomic>
#include <cstdint>

namespace concordat::participant {

struct Counters {
    std::atomic<std::uint64_t> votes_yes{0};
    std::atomic<std::uint64_t> votes_no{0};
    std::atomic<std::uint64_t> votes_read_only{0};
    std::atomic<std::uint64_t> committed{0};
    std::atomic<std::uint64_t> aborted{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> later{0};
    std::atomic<std::uint64_t> unknown{0};
    std::atomic<std::uint64_t> overloaded{0};
    std::atomic<std::uint64_t> alarms{0};
    std::atomic<std::uint64_t> inquiries{0};
    std::atomic<std::uint64_t> ballots_started{0};
    std::atomic<std::uint64_t> recovered_by_coordinator{0};
    std::atomic<std::uint64_t> recovered_by_peers{0};
    std::atomic<std::uint64_t> recovered_by_ballot{0};
    std::atomic<std::uint64_t> in_doubt{0};
    std::atomic<std::int64_t> oldest_in_doubt_ms{0};
};

} // namespace concordat::participant
