// Raw sockets and waiting for the transport tests: peers that misbehave on purpose.
#pragma once

#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace concordat::transport::test {

// Everything a test waits for is a condition with this limit; reaching it is a failure.
inline constexpr std::chrono::seconds patience{20};

// A blocking TCP connection to 127.0.0.1.
class RawSocket {
public:
    explicit RawSocket(int descriptor) noexcept : descriptor_(descriptor) {}
    RawSocket(RawSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    RawSocket& operator=(RawSocket&& other) noexcept;
    ~RawSocket();

    // A small receive buffer makes the peer's writes block soon.
    static RawSocket connect(std::uint16_t port, int receive_buffer_bytes = 0);

    // False when the peer has closed.
    bool send(std::string_view bytes);
    void end_sending();
    void reset(); // closes with RST
    void close();
    // What comes next, up to `limit` bytes; "" at the end or on a reset.
    std::string receive(std::size_t limit = 65536);
    // Reads until the text has been seen (or the end); returns everything read.
    std::string receive_until(std::string_view text);
    std::string receive_to_end();
    // One whole response with Content-Length or without body.
    std::string receive_response();
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

private:
    int descriptor_;
    std::string unread_;
};

// A listening socket whose connections are served by a script, each on a thread that is joined.
class ScriptedServer {
public:
    using Script = std::function<void(RawSocket& socket, std::size_t connection)>;

    explicit ScriptedServer(Script script);
    ~ScriptedServer();
    ScriptedServer(const ScriptedServer&) = delete;
    ScriptedServer& operator=(const ScriptedServer&) = delete;

    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] Origin origin() const { return {false, "127.0.0.1", port_}; }
    // Blocks a script until the test is over: a peer that hangs.
    void hang();
    [[nodiscard]] std::size_t connections();

private:
    void run();

    Script script_;
    int listener_;
    std::uint16_t port_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::size_t accepted_ = 0;
    std::vector<std::thread> serving_;
    std::thread accepting_;
};

// Values that other threads hand over.
template <class Value>
class Inbox {
public:
    void put(Value value) {
        const std::lock_guard lock(mutex_);
        values_.push_back(std::move(value));
        changed_.notify_all();
    }
    // nullopt when none came within the test's patience.
    std::optional<Value> take() {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, patience, [this] { return !values_.empty(); })) {
            return std::nullopt;
        }
        Value value = std::move(values_.front());
        values_.erase(values_.begin());
        return value;
    }
    std::size_t size() {
        const std::lock_guard lock(mutex_);
        return values_.size();
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Value> values_;
};

// True as soon as the condition holds; false when patience is over.
bool eventually(const std::function<bool()>& condition);

// Answers of a client, and a way to wait for them.
class Calls {
public:
    Client::Callback callback() {
        return [this](Client::Result result) { results_.put(std::move(result)); };
    }
    Client::Result take();
    std::size_t size() { return results_.size(); }

private:
    Inbox<Client::Result> results_;
};

OutboundRequest get(std::string target);
OutboundRequest post(std::string target, std::string body);

} // namespace concordat::transport::test
