#include "participant-sdk/src/transport/client_connection.hpp"

#include <algorithm>
#include <utility>

namespace concordat::transport::detail {

namespace {

using boost::system::error_code;

constexpr std::size_t smallest_buffer_bytes = 16 * 1024;
constexpr std::size_t most_interim_answers = 8; // 1xx before the real one

} // namespace

template <class Stream>
ClientConnection<Stream>::ClientConnection(std::shared_ptr<ClientShared> shared, IoLoop& loop,
                                           std::shared_ptr<ClientPool> pool)
    : shared_(std::move(shared)),
      loop_(loop),
      pool_(std::move(pool)),
      in_capacity_(std::max(smallest_buffer_bytes, shared_->options.response_header_limit_bytes)),
      in_(std::make_unique_for_overwrite<char[]>(in_capacity_)) {}

template <class Stream>
ClientConnection<Stream>::~ClientConnection() = default;

// ---- connecting ----

template <class Stream>
void ClientConnection<Stream>::start() {
    shared_->connections_open.fetch_add(1);
    loop_.deadlines().add(*this);
    loop_.deadlines().set(*this, Clock::now() + shared_->options.connect_timeout);
}

template <class Stream>
void ClientConnection<Stream>::connect(std::vector<Endpoint> endpoints) {
    state_ = State::connecting;
    endpoints_ = std::move(endpoints);
    connect_next();
}

template <class Stream>
void ClientConnection<Stream>::connect_next() {
    stream_.emplace(loop_.context().get_executor());
    StreamTraits<Stream>::socket(*stream_).async_connect(
        endpoints_[next_endpoint_], [self = this->shared_from_this()](const error_code& error) {
            if (self->state_ != State::connecting) {
                return;
            }
            if (!error) {
                self->connected();
            } else if (++self->next_endpoint_ < self->endpoints_.size()) {
                self->connect_next();
            } else {
                self->connect_failed(error.message());
            }
        });
}

template <class Stream>
void ClientConnection<Stream>::connected() {
    StreamTraits<Stream>::prepare(*stream_);
    state_ = State::idle;
    loop_.deadlines().set(*this, Clock::now() + shared_->options.idle_timeout);
    read();
    pool_->on_connected(*this);
}

template <class Stream>
void ClientConnection<Stream>::connect_failed(std::string detail) {
    const auto self = this->shared_from_this();
    const auto pool = pool_;
    close();
    pool->on_connect_failed(*this, {Kind::connect_failed, Effect::none, std::move(detail)});
}

// ---- sending ----

template <class Stream>
void ClientConnection<Stream>::begin(Pending pending) {
    pending_ = std::move(pending);
    state_ = State::busy;
    sent_ = 0;
    reused_ = exchanges_++ > 0;
    answer_begun_ = false;
    interim_answers_ = 0;
    loop_.deadlines().set(*this, pending_.deadline);
    flush();
}

template <class Stream>
std::array<boost::asio::const_buffer, 2> ClientConnection<Stream>::unsent() const noexcept {
    const std::size_t of_head = std::min(sent_, pending_.head.size());
    const std::size_t of_body = sent_ - of_head;
    return {boost::asio::buffer(pending_.head.data() + of_head, pending_.head.size() - of_head),
            boost::asio::buffer(pending_.body.data() + of_body, pending_.body.size() - of_body)};
}

// True when there is nothing to wait for: all sent, or broken.
template <class Stream>
bool ClientConnection<Stream>::flush_at_once() {
    if constexpr (StreamTraits<Stream>::writes_at_once) {
        while (sent_ < request_size()) {
            error_code error;
            sent_ += StreamTraits<Stream>::write_now(*stream_, unsent(), error);
            if (error == boost::asio::error::would_block) {
                return false;
            }
            if (error) {
                // From the loop: nothing is completed inside send(). An answer that the peer sent
                // before it closed is lost with the connection, as it would be a moment later.
                loop_.mailbox()->post([self = this->shared_from_this(), exchange = exchanges_,
                                       detail = error.message()] {
                    if (self->state_ == State::busy && self->exchanges_ == exchange) {
                        self->on_broken(detail, false);
                    }
                });
                return true;
            }
        }
    }
    return sent_ == request_size();
}

template <class Stream>
void ClientConnection<Stream>::flush() {
    if (flush_at_once()) {
        return;
    }
    write_pending_ = true;
    stream_->async_write_some(
        unsent(), [self = this->shared_from_this()](const error_code& error, std::size_t bytes) {
            self->write_pending_ = false;
            if (self->state_ != State::busy) {
                return;
            }
            self->sent_ += bytes;
            if (error) {
                self->on_broken(error.message(), false);
            } else if (self->sent_ < self->request_size()) {
                self->flush();
            }
        });
}

// ---- receiving ----

template <class Stream>
void ClientConnection<Stream>::read() {
    if (read_pending_ || state_ == State::closed) {
        return;
    }
    if (in_begin_ == in_end_) {
        in_begin_ = in_end_ = 0;
    } else if (in_end_ == in_capacity_) {
        std::copy(in_.get() + in_begin_, in_.get() + in_end_, in_.get());
        in_end_ -= in_begin_;
        in_begin_ = 0;
    }
    read_pending_ = true;
    stream_->async_read_some(
        boost::asio::buffer(in_.get() + in_end_, in_capacity_ - in_end_),
        [self = this->shared_from_this()](const error_code& error, std::size_t bytes) {
            self->read_pending_ = false;
            self->on_read(bytes, error == boost::asio::error::eof,
                          error ? error.message() : std::string{});
        });
}

template <class Stream>
void ClientConnection<Stream>::on_read(std::size_t bytes, bool ended, const std::string& broken) {
    if (state_ == State::closed) {
        return;
    }
    if (state_ == State::idle) {
        // The peer has ended the connection, or says something that was not asked: both end it.
        const auto pool = pool_;
        close();
        pool->on_closed(*this);
        return;
    }
    if (!broken.empty()) {
        on_broken(broken, ended);
        return;
    }
    in_end_ += bytes;
    answer_begun_ = true;
    parse();
    read();
}

template <class Stream>
void ClientConnection<Stream>::parse() {
    bool progress = true;
    while (progress && state_ == State::busy) {
        progress = parser_ ? parse_body() : parse_head();
    }
}

template <class Stream>
bool ClientConnection<Stream>::parse_head() {
    const std::string_view bytes = unread();
    if (bytes.empty()) {
        return false;
    }
    const auto scanned = scanner_.scan(bytes);
    const std::size_t limit = shared_->options.response_header_limit_bytes;
    if (scanned == HeadScanner::Result::bad_line_ending) {
        fail(Kind::bad_response, "a line of the answer does not end in CR LF");
        return false;
    }
    if (scanned == HeadScanner::Result::incomplete ? bytes.size() >= limit
                                                   : scanner_.head_size() > limit) {
        fail(Kind::response_too_large, "the head of the answer is too large");
        return false;
    }
    if (scanned == HeadScanner::Result::incomplete) {
        return false;
    }
    const std::string_view head = bytes.substr(0, scanner_.head_size());
    response_ = {};
    response_.headers.reserve(head.size(), 8);
    parser_.emplace(response_);
    parser_->header_limit(static_cast<std::uint32_t>(head.size() + 1));
    parser_->body_limit(shared_->options.response_body_limit_bytes);
    parser_->skip(pending_.is_head_request);
    ParseError error;
    const std::size_t used = parser_->feed(head, error);
    if (error == boost::beast::http::error::body_limit) {
        fail(Kind::response_too_large, "the body of the answer is too large");
        return false;
    }
    if ((error && error != boost::beast::http::error::need_more) || used != head.size() ||
        !parser_->is_header_done() || !has_sound_framing()) {
        fail(Kind::bad_response, "the head of the answer is malformed");
        return false;
    }
    in_begin_ += used;
    scanner_.reset();
    if (response_.status < 200) {
        if (response_.status == 101 || ++interim_answers_ > most_interim_answers) {
            fail(Kind::bad_response, "an answer that was not asked for");
            return false;
        }
        parser_.reset();
        return true;
    }
    if (parser_->is_done()) {
        finish();
        return false;
    }
    return true;
}

// What Beast would take in more than one way.
template <class Stream>
bool ClientConnection<Stream>::has_sound_framing() const {
    const auto encoding = response_.headers.find("transfer-encoding");
    return (!encoding || (equals_ignoring_case(*encoding, "chunked") &&
                          response_.headers.count("transfer-encoding") == 1)) &&
           response_.headers.count("content-length") <= (encoding ? 0U : 1U);
}

template <class Stream>
bool ClientConnection<Stream>::parse_body() {
    const std::string_view bytes = unread();
    if (bytes.empty()) {
        return false;
    }
    ParseError error;
    const std::size_t used = parser_->feed(bytes, error);
    in_begin_ += used;
    const bool needs_more = error == boost::beast::http::error::need_more;
    if (error == boost::beast::http::error::body_limit) {
        fail(Kind::response_too_large, "the body of the answer is too large");
    } else if ((error && !needs_more) ||
               (needs_more && used == 0 && bytes.size() == in_capacity_)) {
        fail(Kind::bad_response, "the chunked body of the answer is malformed");
    } else if (parser_->is_done()) {
        finish();
    }
    return false;
}

template <class Stream>
void ClientConnection<Stream>::on_broken(const std::string& detail, bool ended) {
    if (ended && parser_ && parser_->need_eof()) {
        ParseError error;
        parser_->put_eof(error);
        if (!error) {
            finish();
            return;
        }
    }
    const bool surely_unsent = sent_ == 0;
    const bool may_repeat = shared_->options.retry_on_stale_connection && pending_.idempotent;
    if (reused_ && !answer_begun_ && !pending_.retried && (surely_unsent || may_repeat)) {
        const auto self = this->shared_from_this();
        const auto pool = pool_;
        Pending again = std::move(pending_);
        close();
        pool->on_closed(*this);
        pool->resubmit(std::move(again));
        return;
    }
    fail(Kind::reset, detail);
}

// ---- the end of an exchange ----

template <class Stream>
void ClientConnection<Stream>::finish() {
    const auto self = this->shared_from_this();
    const bool reusable = parser_->keep_alive() && unread().empty() && sent_ == request_size();
    parser_.reset();
    Response response = std::exchange(response_, {});
    response.close = !reusable;
    response.content_type = std::string{response.headers.find("content-type").value_or("")};
    Client::Callback callback = std::move(pending_.callback);
    if (reusable) {
        state_ = State::idle;
        loop_.deadlines().set(*this, Clock::now() + shared_->options.idle_timeout);
        read();
        pool_->on_idle(*this);
    } else {
        const auto pool = pool_;
        close();
        pool->on_closed(*this);
    }
    shared_->complete(std::move(callback), std::move(response));
}

template <class Stream>
void ClientConnection<Stream>::fail(Kind kind, std::string detail) {
    const auto self = this->shared_from_this();
    const auto pool = pool_;
    const Effect effect = sent_ == 0 ? Effect::none : Effect::unknown;
    Client::Callback callback = std::move(pending_.callback);
    close();
    pool->on_closed(*this);
    shared_->complete(std::move(callback),
                      std::unexpected(TransportError{kind, effect, std::move(detail)}));
}

template <class Stream>
void ClientConnection<Stream>::on_deadline(Time /*now*/) {
    switch (state_) {
    case State::waiting:
        connect_failed("the name was not resolved in time");
        break;
    case State::connecting:
        connect_failed("the connection was not established in time");
        break;
    case State::idle: {
        const auto self = this->shared_from_this();
        const auto pool = pool_;
        close();
        pool->on_closed(*this);
        break;
    }
    case State::busy:
        fail(Kind::timed_out, "no answer came in time");
        break;
    case State::closed:
        break;
    }
}

template <class Stream>
void ClientConnection<Stream>::cancel() {
    const auto self = this->shared_from_this();
    const bool busy = state_ == State::busy;
    const Effect effect = sent_ == 0 ? Effect::none : Effect::unknown;
    Client::Callback callback = std::move(pending_.callback);
    close();
    if (busy) {
        shared_->complete(
            std::move(callback),
            std::unexpected(TransportError{Kind::stopped, effect, "the client was stopped"}));
    }
}

template <class Stream>
void ClientConnection<Stream>::discard() {
    close();
}

template <class Stream>
void ClientConnection<Stream>::close() {
    if (state_ == State::closed) {
        return;
    }
    state_ = State::closed;
    loop_.deadlines().remove(*this);
    if (stream_) {
        error_code ignored;
        StreamTraits<Stream>::socket(*stream_).close(ignored);
    }
    pool_ = nullptr;
    // After the current call stack; see ServerConnection::close_now().
    loop_.mailbox()->post([self = this->shared_from_this()] {
        self->stream_.reset();
        self->shared_->connection_gone();
    });
}

template class ClientConnection<Socket>;

} // namespace concordat::transport::detail
