#pragma once

// The pieces of the peer transport that touch a socket: one connection, the queue of what is to be
// sent on it, and the assembly of a snapshot that arrives in pieces. Internal to the transport; the
// only header of this module with Boost in it.
//
// TLS: PeerConnection is the only place that reads and writes; an ssl::stream instead of the socket
// and a handshake before the first frame are all that it takes.
//
// Threading: the io thread, except SendQueue::push and is_open.

#include "coordinator/log/log_types.hpp"
#include "coordinator/log/peer_codec.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

namespace concordat::log {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;

/// Completion token: errors come as the first element of a tuple instead of exceptions.
inline constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

class PeerConnection {
public:
    explicit PeerConnection(tcp::socket socket) : socket_(std::move(socket)) {}

    [[nodiscard]] tcp::socket& socket() noexcept { return socket_; }
    /// False when the connection is gone.
    asio::awaitable<bool> write(const std::string& bytes);
    /// Nothing when the connection is gone or sent what does not decode.
    asio::awaitable<std::optional<PeerFrame>> read_frame(std::size_t max_payload_bytes);
    void close();

private:
    tcp::socket socket_;
    bool prepared_ = false;
    std::string buffer_; ///< read and not yet taken
};

/// Closes a connection that is not ready in time.
class Deadline {
public:
    Deadline(PeerConnection& connection, std::chrono::milliseconds limit);
    ~Deadline() { met(); }
    Deadline(const Deadline&) = delete;
    Deadline& operator=(const Deadline&) = delete;
    void met() const { timer_->cancel(); }

private:
    std::shared_ptr<asio::steady_timer> timer_;
};

/// Messages to one peer, bounded in bytes; what does not fit is dropped.
class SendQueue {
public:
    SendQueue(asio::io_context& context, std::size_t max_bytes)
        : context_(context), wake_(context), max_bytes_(max_bytes) {}

    /// Any thread. Nothing is kept while the connection is down.
    void push(Message message);
    [[nodiscard]] bool is_open() const noexcept { return open_; }
    void open();
    void close();
    /// Frames of everything that waits (bounded), waiting for something; empty when closed.
    asio::awaitable<std::string> next();

private:
    struct OutgoingSnapshot {
        InstallSnapshot install;
        bool announced = false;
        std::uint64_t sent_bytes = 0;
    };

    bool take(std::string& bytes);
    void take_snapshot_piece(std::string& bytes);

    asio::io_context& context_;
    asio::steady_timer wake_;
    std::size_t max_bytes_;
    std::atomic<bool> open_ = false;
    std::mutex mutex_;
    std::deque<Message> messages_;
    std::size_t waiting_bytes_ = 0;
    bool writer_waits_ = false;
    std::optional<InstallSnapshot> next_snapshot_;
    std::optional<OutgoingSnapshot> snapshot_; ///< io thread only
};

/// Puts a snapshot together; checks order, sizes and the checksum of the whole.
class SnapshotAssembly {
public:
    explicit SnapshotAssembly(std::uint64_t max_bytes) : max_bytes_(max_bytes) {}

    bool start(SnapshotStart announcement);
    bool add(const SnapshotPiece& piece);
    [[nodiscard]] bool is_complete() const;
    /// Nothing when the checksum is wrong.
    std::optional<InstallSnapshot> take();

private:
    std::uint64_t max_bytes_;
    std::optional<SnapshotStart> announcement_;
    std::string data_;
};

} // namespace concordat::log
