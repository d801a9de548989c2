#include "participant-sdk/src/transport/server_connection.hpp"

#include "participant-sdk/src/transport/serialiser.hpp"

#include <algorithm>
#include <utility>

namespace concordat::transport::detail {

namespace {

using boost::system::error_code;

// Room for a whole head and, with common limits, for a small body behind it.
constexpr std::size_t smallest_buffer_bytes = 16 * 1024;
// Bodies up to this size are copied behind the head: one buffer, one send.
constexpr std::size_t largest_copied_body_bytes = 4 * 1024;
// After the last answer: how long, and how much, the peer may still send before it is cut off.
// Closing at once would reset the connection and could destroy the answer on its way.
constexpr std::chrono::milliseconds linger_time{2000};
constexpr std::size_t linger_limit_bytes = 4 * 1024 * 1024;
constexpr std::string_view continue_line = "HTTP/1.1 100 Continue\r\n\r\n";

} // namespace

template <class Stream>
ServerConnection<Stream>::ServerConnection(std::shared_ptr<ServerShared> shared, IoLoop& loop,
                                           Stream stream, std::string remote_address)
    : shared_(std::move(shared)),
      loop_(loop),
      mailbox_(loop.mailbox()),
      stream_(std::move(stream)),
      remote_address_(std::move(remote_address)),
      in_capacity_(std::max(smallest_buffer_bytes, shared_->options.header_limit_bytes)),
      in_(std::make_unique_for_overwrite<char[]>(in_capacity_)) {}

template <class Stream>
ServerConnection<Stream>::~ServerConnection() = default;

template <class Stream>
void ServerConnection<Stream>::start() {
    StreamTraits<Stream>::prepare(*stream_);
    shared_->connections[loop_.index()].emplace(this, this->shared_from_this());
    loop_.deadlines().add(*this);
    loop_.deadlines().set(*this, Clock::now() + shared_->options.idle_timeout);
    if (shared_->stopping) {
        close_now();
        return;
    }
    read();
}

// ---- reading ----

template <class Stream>
void ServerConnection<Stream>::read() {
    if (read_pending_ || peer_ended_ || state_ == State::closed) {
        return;
    }
    if (in_begin_ == in_end_) {
        in_begin_ = in_end_ = 0;
    } else if (in_end_ == in_capacity_ && in_begin_ > 0) {
        std::copy(in_.get() + in_begin_, in_.get() + in_end_, in_.get());
        in_end_ -= in_begin_;
        in_begin_ = 0;
    }
    if (in_end_ == in_capacity_) {
        return; // pipelined requests beyond the buffer wait in the socket
    }
    read_pending_ = true;
    stream_->async_read_some(
        boost::asio::buffer(in_.get() + in_end_, in_capacity_ - in_end_),
        [self = this->shared_from_this()](const error_code& error, std::size_t bytes) {
            self->read_pending_ = false;
            self->on_read(bytes, error == boost::asio::error::eof,
                          error && error != boost::asio::error::eof);
        });
}

template <class Stream>
void ServerConnection<Stream>::on_read(std::size_t bytes, bool ended, bool broken) {
    if (state_ == State::closed) {
        return;
    }
    if (broken) {
        close_now();
        return;
    }
    if (state_ == State::lingering) {
        lingered_bytes_ += bytes;
        if (ended || lingered_bytes_ > linger_limit_bytes) {
            close_now();
        } else {
            read();
        }
        return;
    }
    if (ended) {
        peer_ended_ = true;
        // A peer that has ended its side may still wait for an answer, but sends no more requests
        // and does not listen to events.
        const bool answer_due = state_ == State::handling || state_ == State::writing;
        if (!answer_due) {
            close_now();
        }
        return;
    }
    in_end_ += bytes;
    advance();
}

// Takes as many steps as the bytes at hand allow. Answers given inside a handler come back here as
// a changed state, not as a recursion.
template <class Stream>
void ServerConnection<Stream>::advance() {
    if (advancing_) {
        return;
    }
    advancing_ = true;
    bool progress = true;
    while (progress) {
        switch (state_) {
        case State::reading_head:
            progress = step_head();
            break;
        case State::reading_body:
            progress = step_body();
            break;
        default:
            progress = false;
        }
    }
    advancing_ = false;
    if (peer_ended_ && state_ == State::reading_head) {
        close_now();
    }
    read();
}

template <class Stream>
bool ServerConnection<Stream>::step_head() {
    const std::string_view bytes = unread();
    if (bytes.empty()) {
        return false;
    }
    switch (scanner_.scan(bytes)) {
    case HeadScanner::Result::incomplete:
        if (bytes.size() >= shared_->options.header_limit_bytes) {
            refuse(Kind::header_too_large, 431, "the request head is too large");
        } else if (!std::exchange(head_begun_, true)) {
            loop_.deadlines().set(*this, Clock::now() + shared_->options.header_timeout);
        }
        return false;
    case HeadScanner::Result::bad_line_ending:
        refuse(Kind::bad_framing, 400, describe(FramingError::bad_line_ending));
        return false;
    case HeadScanner::Result::complete:
        break;
    }
    if (scanner_.head_size() > shared_->options.header_limit_bytes) {
        refuse(Kind::header_too_large, 431, "the request head is too large");
        return false;
    }
    return accept_head(bytes.substr(0, scanner_.head_size()));
}

template <class Stream>
bool ServerConnection<Stream>::accept_head(std::string_view head) {
    const auto framing = check_framing(head, shared_->options.framing);
    if (!framing) {
        refuse(Kind::bad_framing, 400, describe(framing.error()));
        return false;
    }
    framing_ = *framing;
    if (framing_.content_length > shared_->options.body_limit_bytes) {
        refuse(Kind::body_too_large, 413, "the request body is too large");
        return false;
    }
    parser_.emplace(request_);
    parser_->header_limit(static_cast<std::uint32_t>(head.size() + 1));
    parser_->body_limit(shared_->options.body_limit_bytes);
    request_.headers.reserve(head.size(), 12);
    ParseError error;
    const std::size_t used = parser_->feed(head, error);
    const bool complete_head = parser_->is_header_done() && used == head.size();
    if ((error && error != boost::beast::http::error::need_more) || !complete_head) {
        refuse(Kind::bad_framing, 400, "the request head is malformed");
        return false;
    }
    in_begin_ += head.size();
    omit_body_ = request_.method == "HEAD";
    if (parser_->is_done()) {
        call_handler();
    } else {
        begin_body();
    }
    return true;
}

template <class Stream>
void ServerConnection<Stream>::begin_body() {
    body_begun_ = Clock::now();
    body_bytes_ = 0;
    state_ = State::reading_body;
    loop_.deadlines().set(*this, body_begun_ + shared_->options.body_grace);
    if (framing_.expects_continue && unread().empty()) {
        state_ = State::writing_continue;
        out_ = continue_line;
        out_body_.clear();
        out_sent_ = 0;
        flush();
    }
}

template <class Stream>
bool ServerConnection<Stream>::step_body() {
    const std::string_view bytes = unread();
    if (bytes.empty()) {
        return false;
    }
    ParseError error;
    const std::size_t used = parser_->feed(bytes, error);
    in_begin_ += used;
    body_bytes_ += used;
    if (error == boost::beast::http::error::body_limit) {
        refuse(Kind::body_too_large, 413, "the request body is too large");
        return false;
    }
    const bool needs_more = error == boost::beast::http::error::need_more;
    // A chunk header or a trailer that fills the whole buffer never ends.
    if ((error && !needs_more) || (needs_more && used == 0 && bytes.size() == in_capacity_)) {
        refuse(Kind::bad_framing, 400, "the chunked body is malformed");
        return false;
    }
    if (!parser_->is_done()) {
        return false;
    }
    call_handler();
    return true;
}

template <class Stream>
void ServerConnection<Stream>::call_handler() {
    state_ = State::handling;
    loop_.deadlines().clear(*this);
    parser_.reset();
    scanner_.reset();
    head_begun_ = false;
    ++number_;
    shared_->requests.fetch_add(1, std::memory_order_relaxed);
    request_.remote_address = remote_address_;
    Request request = std::exchange(request_, {});
    try {
        shared_->handler(std::move(request), Responder{this->shared_from_this(), number_});
    } catch (...) {
        // The Responder died with the stack, or lives on with whoever took it: in the first case
        // the request is answered already. A handler's exception is not the connection's.
        return;
    }
}

// ---- answering ----

template <class Stream>
void ServerConnection<Stream>::respond(std::uint64_t number, Response response) {
    dispatch([number, response = std::move(response)](ServerConnection& connection) mutable {
        connection.answer(number, std::move(response));
    });
}

template <class Stream>
void ServerConnection<Stream>::abandon(std::uint64_t number) {
    dispatch([number](ServerConnection& connection) {
        if (connection.state_ != State::handling || connection.number_ != number) {
            return;
        }
        connection.shared_->protocol_errors.fetch_add(1, std::memory_order_relaxed);
        connection.answer(number, connection.shared_->render(
                                      {Kind::unanswered, 500, "the request was not answered"}));
    });
}

template <class Stream>
void ServerConnection<Stream>::answer(std::uint64_t number, Response response) {
    if (state_ == State::handling && number_ == number) {
        begin_answer(std::move(response));
    }
}

template <class Stream>
void ServerConnection<Stream>::refuse(Kind kind, int status, std::string_view detail) {
    shared_->protocol_errors.fetch_add(1, std::memory_order_relaxed);
    if (kind == Kind::header_timeout || kind == Kind::body_timeout) {
        shared_->timeouts.fetch_add(1, std::memory_order_relaxed);
    }
    Response response = shared_->render({kind, status, detail});
    response.close = true;
    begin_answer(std::move(response));
}

template <class Stream>
void ServerConnection<Stream>::begin_answer(Response response) {
    state_ = State::writing;
    close_after_ =
        response.close || !framing_.keep_alive || stopping_ || (peer_ended_ && unread().empty());
    const ResponseFraming how{.http11 = framing_.http11,
                              .close = close_after_,
                              .stream = false,
                              .date = loop_.http_date()};
    if (!render_head(out_, response, how)) {
        // The owner put a control character or a bad status into the answer: nothing of it is sent.
        response = shared_->render({Kind::unanswered, 500, "the answer could not be rendered"});
        response.headers.clear();
        if (!render_head(out_, response, how)) {
            close_now();
            return;
        }
    }
    out_body_.clear();
    out_sent_ = 0;
    if (!omit_body_ && !is_bodiless(response.status)) {
        if (response.body.size() <= largest_copied_body_bytes) {
            out_.append(response.body);
        } else {
            out_body_ = std::move(response.body);
        }
    }
    flush();
}

// ---- writing ----

template <class Stream>
std::array<boost::asio::const_buffer, 2> ServerConnection<Stream>::unsent() const noexcept {
    const std::size_t of_head = std::min(out_sent_, out_.size());
    const std::size_t of_body = out_sent_ - of_head;
    return {boost::asio::buffer(out_.data() + of_head, out_.size() - of_head),
            boost::asio::buffer(out_body_.data() + of_body, out_body_.size() - of_body)};
}

// True when everything is written or the connection is closed.
template <class Stream>
bool ServerConnection<Stream>::flush_at_once() {
    if constexpr (StreamTraits<Stream>::writes_at_once) {
        const std::size_t total = out_.size() + out_body_.size();
        while (out_sent_ < total) {
            error_code error;
            out_sent_ += StreamTraits<Stream>::write_now(*stream_, unsent(), error);
            if (error == boost::asio::error::would_block) {
                return false;
            }
            if (error) {
                close_now();
                return true;
            }
        }
        return true;
    }
    return out_sent_ == out_.size() + out_body_.size();
}

template <class Stream>
void ServerConnection<Stream>::flush() {
    if (flush_at_once()) {
        if (state_ != State::closed) {
            written();
        }
        return;
    }
    loop_.deadlines().set(*this, Clock::now() + shared_->options.write_timeout);
    write_pending_ = true;
    stream_->async_write_some(
        unsent(), [self = this->shared_from_this()](const error_code& error, std::size_t bytes) {
            self->write_pending_ = false;
            if (self->state_ == State::closed) {
                return;
            }
            if (error) {
                self->close_now();
                return;
            }
            self->on_written(bytes);
        });
}

template <class Stream>
void ServerConnection<Stream>::on_written(std::size_t bytes) {
    out_sent_ += bytes;
    if (out_sent_ < out_.size() + out_body_.size()) {
        flush();
        return;
    }
    written();
    advance();
}

// The out buffer is empty again.
template <class Stream>
void ServerConnection<Stream>::written() {
    out_body_ = {};
    switch (state_) {
    case State::writing_continue:
        state_ = State::reading_body;
        loop_.deadlines().set(*this, Clock::now() + shared_->options.body_grace);
        advance();
        break;
    case State::streaming:
        loop_.deadlines().clear(*this);
        pump_stream();
        break;
    case State::writing:
        finish_exchange();
        break;
    default:
        break;
    }
}

template <class Stream>
void ServerConnection<Stream>::finish_exchange() {
    if (close_after_ || stopping_) {
        linger();
        return;
    }
    state_ = State::reading_head;
    omit_body_ = false;
    loop_.deadlines().set(*this, Clock::now() + shared_->options.idle_timeout);
    advance();
}

template <class Stream>
void ServerConnection<Stream>::linger() {
    if (peer_ended_) {
        close_now();
        return;
    }
    state_ = State::lingering;
    error_code ignored;
    StreamTraits<Stream>::socket(*stream_).shutdown(Socket::shutdown_send, ignored);
    loop_.deadlines().set(*this, Clock::now() + linger_time);
    in_begin_ = in_end_ = 0;
    // While a read is pending into the old place, its bytes are counted and dropped.
    read();
}

// ---- deadlines and the end ----

template <class Stream>
void ServerConnection<Stream>::on_deadline(Time now) {
    switch (state_) {
    case State::reading_head:
        if (head_begun_) {
            refuse(Kind::header_timeout, 408, "the request head did not arrive in time");
        } else {
            close_now(); // idle: no request, so no answer
        }
        break;
    case State::reading_body:
        check_body_rate(now);
        break;
    case State::handling:
        break;
    case State::writing_continue:
    case State::writing:
    case State::streaming:
        shared_->timeouts.fetch_add(1, std::memory_order_relaxed);
        close_now();
        break;
    case State::lingering:
    case State::closed:
        close_now();
        break;
    }
}

template <class Stream>
void ServerConnection<Stream>::check_body_rate(Time now) {
    const std::size_t rate =
        std::max<std::size_t>(shared_->options.body_minimum_bytes_per_second, 1);
    const std::size_t received = body_bytes_ + unread().size();
    const Time due = body_begun_ + shared_->options.body_grace +
                     std::chrono::milliseconds(received * 1000 / rate);
    if (due > now) {
        loop_.deadlines().set(*this, due);
    } else {
        refuse(Kind::body_timeout, 408, "the request body did not arrive in time");
    }
}

template <class Stream>
void ServerConnection<Stream>::begin_stop() {
    stopping_ = true;
    switch (state_) {
    case State::reading_head:
        if (!head_begun_) {
            close_now();
        }
        break;
    case State::streaming:
        if (!write_pending_) {
            pump_stream();
        }
        break;
    default:
        break;
    }
}

template <class Stream>
void ServerConnection<Stream>::close_now() {
    if (state_ == State::closed) {
        return;
    }
    state_ = State::closed;
    closed_ = true;
    loop_.deadlines().remove(*this);
    error_code ignored;
    StreamTraits<Stream>::socket(*stream_).close(ignored);
    end_stream();
    // After the current call stack: a handler that is running now has returned when the server
    // believes this connection gone. The stream goes with it, also when a Responder is kept longer.
    mailbox_->post([self = this->shared_from_this()] {
        self->stream_.reset();
        self->shared_->connections[self->loop_.index()].erase(self.get());
        self->shared_->depart(self->remote_address_);
    });
}

template class ServerConnection<Socket>;

} // namespace concordat::transport::detail
