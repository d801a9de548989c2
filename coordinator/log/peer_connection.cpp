#include "coordinator/log/peer_connection.hpp"

#include "coordinator/log/crc32c.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <memory>
#include <utility>

namespace concordat::log {
namespace {

constexpr std::size_t read_block_bytes = 64UL << 10;
constexpr std::size_t max_write_bytes = 1UL << 20;
constexpr std::size_t snapshot_piece_bytes = 256UL << 10;

} // namespace

// ---------------------------------------------------------------- connection

asio::awaitable<bool> PeerConnection::write(const std::string& bytes) {
    if (!prepared_) {
        prepared_ = true;
        boost::system::error_code ignored;
        socket_.set_option(tcp::no_delay(true), ignored);
        socket_.set_option(asio::socket_base::keep_alive(true), ignored);
    }
    const auto [error, written] =
        co_await asio::async_write(socket_, asio::buffer(bytes), no_throw);
    co_return !error;
}

asio::awaitable<std::optional<PeerFrame>>
PeerConnection::read_frame(std::size_t max_payload_bytes) {
    std::size_t wanted = frame_header_bytes;
    std::optional<FrameHeader> header;
    while (true) {
        if (buffer_.size() >= wanted && !header) {
            header = decode_frame_header(buffer_, max_payload_bytes);
            if (!header) {
                co_return std::nullopt;
            }
            wanted += header->payload_bytes;
        }
        if (header && buffer_.size() >= wanted) {
            break;
        }
        const std::size_t had = buffer_.size();
        const std::size_t block = std::max(read_block_bytes, wanted - std::min(wanted, had));
        buffer_.resize(had + block);
        const auto [error, count] =
            co_await socket_.async_read_some(asio::buffer(buffer_.data() + had, block), no_throw);
        buffer_.resize(had + count);
        if (error) {
            co_return std::nullopt;
        }
    }
    auto frame = decode_frame(
        *header, std::string_view{buffer_}.substr(frame_header_bytes, header->payload_bytes));
    buffer_.erase(0, wanted);
    if (!frame) {
        co_return std::nullopt;
    }
    co_return std::move(*frame);
}

void PeerConnection::close() {
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
}

Deadline::Deadline(PeerConnection& connection, std::chrono::milliseconds limit)
    : timer_(std::make_shared<asio::steady_timer>(connection.socket().get_executor(), limit)) {
    timer_->async_wait([timer = timer_, &connection](const boost::system::error_code& error) {
        if (!error) {
            connection.close();
        }
    });
}

// ---------------------------------------------------------------- queue

void SendQueue::push(Message message) {
    const std::size_t bytes = approximate_bytes(message);
    bool wake = false;
    {
        const std::lock_guard lock{mutex_};
        if (!open_ || waiting_bytes_ + bytes > max_bytes_) {
            return;
        }
        if (auto* install = std::get_if<InstallSnapshot>(&message.body)) {
            next_snapshot_ = std::move(*install);
        } else {
            waiting_bytes_ += bytes;
            messages_.push_back(std::move(message));
        }
        wake = std::exchange(writer_waits_, false);
    }
    if (wake) {
        asio::post(context_, [this] { wake_.cancel(); });
    }
}

void SendQueue::open() {
    const std::lock_guard lock{mutex_};
    open_ = true;
}

void SendQueue::close() {
    const std::lock_guard lock{mutex_};
    open_ = false;
    messages_.clear();
    waiting_bytes_ = 0;
    next_snapshot_.reset();
    snapshot_.reset();
    wake_.cancel();
}

asio::awaitable<std::string> SendQueue::next() {
    std::string bytes;
    while (open_) {
        if (take(bytes)) {
            co_return bytes;
        }
        // The timer never expires; a push or close cancels the wait. Both happen on this thread
        // after writer_waits_ was set, so no wake-up is lost.
        wake_.expires_at(asio::steady_timer::time_point::max());
        co_await wake_.async_wait(no_throw);
    }
    co_return bytes;
}

/// True when something was taken; otherwise the next push wakes the writer.
bool SendQueue::take(std::string& bytes) {
    std::deque<Message> taken;
    {
        const std::lock_guard lock{mutex_};
        std::size_t total = 0;
        while (!messages_.empty() && total < max_write_bytes) {
            const std::size_t size = approximate_bytes(messages_.front());
            total += size;
            waiting_bytes_ -= size;
            taken.push_back(std::move(messages_.front()));
            messages_.pop_front();
        }
        if (next_snapshot_) {
            snapshot_ = OutgoingSnapshot{std::move(*next_snapshot_)};
            next_snapshot_.reset();
        }
        if (taken.empty() && !snapshot_) {
            writer_waits_ = true;
            return false;
        }
    }
    for (Message& message : taken) {
        encode_frame(std::move(message), bytes);
    }
    if (snapshot_) {
        take_snapshot_piece(bytes);
    }
    return true;
}

void SendQueue::take_snapshot_piece(std::string& bytes) {
    const std::string& data = *snapshot_->install.data;
    if (!snapshot_->announced) {
        snapshot_->announced = true;
        encode_frame(SnapshotStart{snapshot_->install.term, snapshot_->install.metadata,
                                   data.size(), crc32c(data)},
                     bytes);
    }
    const std::string piece = data.substr(snapshot_->sent_bytes, snapshot_piece_bytes);
    if (!piece.empty()) {
        encode_frame(SnapshotPiece{snapshot_->sent_bytes, piece}, bytes);
        snapshot_->sent_bytes += piece.size();
    }
    if (snapshot_->sent_bytes == data.size()) {
        snapshot_.reset();
    }
}

// ---------------------------------------------------------------- assembly

bool SnapshotAssembly::start(SnapshotStart announcement) {
    if (announcement.data_bytes > max_bytes_) {
        return false;
    }
    announcement_ = std::move(announcement);
    data_.clear(); // grows with what really arrives, not with what was announced
    return true;
}

bool SnapshotAssembly::add(const SnapshotPiece& piece) {
    if (!announcement_ || piece.offset != data_.size() || piece.bytes.empty() ||
        piece.bytes.size() > announcement_->data_bytes - data_.size()) {
        return false;
    }
    data_ += piece.bytes;
    return true;
}

bool SnapshotAssembly::is_complete() const {
    return announcement_ && data_.size() == announcement_->data_bytes;
}

std::optional<InstallSnapshot> SnapshotAssembly::take() {
    const SnapshotStart announcement = std::move(*announcement_);
    announcement_.reset();
    if (crc32c(data_) != announcement.checksum) {
        return std::nullopt;
    }
    return InstallSnapshot{announcement.term, announcement.metadata,
                           std::make_shared<const std::string>(std::exchange(data_, {}))};
}

} // namespace concordat::log
