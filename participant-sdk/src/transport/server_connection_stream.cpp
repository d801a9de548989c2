// The event-stream part of ServerConnection. Its members are instantiated here one by one; the
// others in server_connection.cpp.
#include "participant-sdk/src/transport/serialiser.hpp"
#include "participant-sdk/src/transport/server_connection.hpp"

#include <mutex>
#include <utility>

namespace concordat::transport::detail {

template <class Stream>
std::shared_ptr<StreamState> ServerConnection<Stream>::open_stream(std::uint64_t number,
                                                                   Response response) {
    auto stream = std::make_shared<StreamState>();
    stream->exchange = this->shared_from_this();
    stream->number = number;
    stream->limit_bytes = shared_->options.stream_buffer_bytes;
    if (closed_) {
        stream->exchange = nullptr;
        stream->closed = true;
        return stream;
    }
    auto begin = [number, stream, response = std::move(response)](auto& connection) mutable {
        connection.begin_stream(number, std::move(response), stream);
    };
    if (on_loop()) {
        begin(*this);
    } else {
        mailbox_->post([self = this->shared_from_this(), begin = std::move(begin)]() mutable {
            begin(*self);
        });
    }
    return stream;
}

template <class Stream>
void ServerConnection<Stream>::begin_stream(std::uint64_t number, Response response,
                                            const std::shared_ptr<StreamState>& stream) {
    event_stream_ = stream;
    if (state_ != State::handling || number_ != number) {
        end_stream(); // closed meanwhile
        return;
    }
    const ResponseFraming how{.http11 = framing_.http11,
                              .close = response.close || !framing_.keep_alive || !framing_.http11,
                              .stream = true,
                              .date = loop_.http_date()};
    response.body.clear();
    if (stopping_ || !render_head(out_, response, how)) {
        close_now();
        return;
    }
    close_after_ = how.close;
    state_ = State::streaming;
    out_body_.clear();
    out_sent_ = 0;
    flush();
}

template <class Stream>
void ServerConnection<Stream>::stream_ready(std::uint64_t number) {
    dispatch([number](ServerConnection& connection) {
        if (connection.state_ == State::streaming && connection.number_ == number &&
            !connection.write_pending_) {
            connection.pump_stream();
        }
    });
}

// Writes what the stream's writer has left until nothing is left or the socket takes no more. A
// loop and not a recursion through written(): the writer may be as fast as the socket.
template <class Stream>
void ServerConnection<Stream>::pump_stream() {
    if (std::exchange(pumping_, true)) {
        return;
    }
    while (state_ == State::streaming && !write_pending_ && take_from_stream()) {
        flush();
    }
    pumping_ = false;
}

// Puts what waits into the out buffer as one chunk, and the last chunk behind it at the end.
template <class Stream>
bool ServerConnection<Stream>::take_from_stream() {
    std::string bytes;
    bool finished = false;
    {
        const std::lock_guard lock(event_stream_->mutex);
        bytes.swap(event_stream_->pending);
        finished = event_stream_->finished || stopping_;
        event_stream_->announced = false;
    }
    out_.clear();
    out_sent_ = 0;
    const bool chunked = framing_.http11 && !omit_body_;
    if (chunked && !bytes.empty()) {
        render_chunk(out_, bytes);
    } else if (!omit_body_) {
        out_ = std::move(bytes);
    }
    if (finished) {
        out_.append(chunked ? "0\r\n\r\n" : "");
        end_stream();
        state_ = State::writing;
    }
    return finished || !out_.empty();
}

template <class Stream>
void ServerConnection<Stream>::end_stream() noexcept {
    const std::shared_ptr<StreamState> stream = std::exchange(event_stream_, nullptr);
    if (stream == nullptr) {
        return;
    }
    std::shared_ptr<Exchange> released;
    std::move_only_function<void()> told;
    {
        const std::lock_guard lock(stream->mutex);
        stream->closed = true;
        released = std::exchange(stream->exchange, nullptr);
        told = std::exchange(stream->on_closed, nullptr);
    }
    if (told) {
        told();
    }
}

template std::shared_ptr<StreamState> ServerConnection<Socket>::open_stream(std::uint64_t,
                                                                            Response);
template void ServerConnection<Socket>::begin_stream(std::uint64_t, Response,
                                                     const std::shared_ptr<StreamState>&);
template void ServerConnection<Socket>::stream_ready(std::uint64_t);
template void ServerConnection<Socket>::pump_stream();
template bool ServerConnection<Socket>::take_from_stream();
template void ServerConnection<Socket>::end_stream() noexcept;

} // namespace concordat::transport::detail
