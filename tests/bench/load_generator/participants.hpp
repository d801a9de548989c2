// Two participants that do nothing: they vote yes and acknowledge at once.
//
// What: in-process HTTP servers with the participant contract of openapi.yaml (webhooks), single
// and batched operations. What is left of a transaction is exactly the coordinator's own cost plus
// HTTP.
//
// Threading: the handlers run on the given io threads; counters from any thread.
// Ownership: the IoThreads must outlive them; stop() in the destructor.
// Errors: start() tells why nothing listens. An operation they do not know is answered 400, so that
// a change of the contract shows up as failed transactions, not as good figures.
#pragma once

#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>

namespace concordat::bench {

struct ParticipantCounts {
    std::uint64_t requests = 0;   // HTTP exchanges
    std::uint64_t operations = 0; // branch operations in them
};

class NoopParticipants {
public:
    static constexpr std::size_t count = 2;

    NoopParticipants(transport::IoThreads& threads, bool batch);
    ~NoopParticipants();
    NoopParticipants(const NoopParticipants&) = delete;
    NoopParticipants& operator=(const NoopParticipants&) = delete;

    [[nodiscard]] std::expected<void, std::string> start();
    [[nodiscard]] std::string base_url(std::size_t index) const;
    [[nodiscard]] ParticipantCounts counts() const noexcept;

private:
    void answer(transport::Request&& request, transport::Responder respond);

    const bool batch_;
    const std::string prepared_; // rendered once: a no-op participant shall cost next to nothing
    const std::string done_;
    std::atomic<std::uint64_t> requests_{0};
    std::atomic<std::uint64_t> operations_{0};
    std::array<std::unique_ptr<transport::Server>, count> servers_;
};

} // namespace concordat::bench
