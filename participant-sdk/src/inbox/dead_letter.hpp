// Sends a record that cannot be handled to the dead-letter topic.
//
// What: one producer, made on first use; send() returns when the broker has the copy.
// Threading: one thread. Errors: in words; effect unknown, so send() may leave a second copy.
#pragma once

#include <concordat/inbox.hpp>

#include <librdkafka/rdkafka.h>

#include <expected>
#include <memory>
#include <string>

namespace concordat::inbox {

class DeadLetter {
public:
    explicit DeadLetter(const Options& options) noexcept : options_(options) {}

    // Key, value, time and headers as they were, and "dead-letter-reason", "dead-letter-source".
    [[nodiscard]] std::expected<void, std::string> send(const rd_kafka_message_t& message,
                                                        const std::string& reason);

private:
    struct Destroy {
        void operator()(rd_kafka_t* handle) const noexcept { rd_kafka_destroy(handle); }
    };
    [[nodiscard]] std::expected<void, std::string> open();

    const Options& options_;
    std::unique_ptr<rd_kafka_t, Destroy> handle_;
};

} // namespace concordat::inbox
