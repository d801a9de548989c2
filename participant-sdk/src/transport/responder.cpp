#include "participant-sdk/src/transport/exchange.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace concordat::transport {

namespace {

void require_unused(bool unused) noexcept {
    if (!unused) {
        std::fputs("bug: a request was answered twice\n", stderr);
        std::abort();
    }
}

} // namespace

Responder::Responder(std::shared_ptr<detail::Exchange> exchange, std::uint64_t number) noexcept
    : exchange_(std::move(exchange)), number_(number) {}

Responder& Responder::operator=(Responder&& other) noexcept {
    Responder dropped = std::move(*this);
    exchange_ = std::move(other.exchange_);
    number_ = other.number_;
    return *this;
}

Responder::~Responder() {
    if (exchange_ != nullptr) {
        exchange_->abandon(number_);
    }
}

void Responder::operator()(Response response) {
    require_unused(exchange_ != nullptr);
    std::exchange(exchange_, nullptr)->respond(number_, std::move(response));
}

StreamWriter Responder::stream(Response response) {
    require_unused(exchange_ != nullptr);
    return StreamWriter{
        std::exchange(exchange_, nullptr)->open_stream(number_, std::move(response))};
}

StreamWriter::StreamWriter(std::shared_ptr<detail::StreamState> state) noexcept
    : state_(std::move(state)) {}

StreamWriter& StreamWriter::operator=(StreamWriter&& other) noexcept {
    StreamWriter dropped = std::move(*this);
    state_ = std::move(other.state_);
    return *this;
}

StreamWriter::~StreamWriter() {
    close();
}

StreamWriter::Result StreamWriter::write(std::string_view bytes) {
    if (state_ == nullptr) {
        return Result::closed;
    }
    std::shared_ptr<detail::Exchange> told;
    {
        const std::lock_guard lock(state_->mutex);
        if (state_->closed || state_->finished) {
            return Result::closed;
        }
        if (bytes.size() > state_->limit_bytes - state_->pending.size()) {
            return Result::full;
        }
        state_->pending.append(bytes);
        if (!std::exchange(state_->announced, true)) {
            told = state_->exchange;
        }
    }
    if (told != nullptr) {
        told->stream_ready(state_->number);
    }
    return Result::accepted;
}

void StreamWriter::close() {
    if (state_ == nullptr) {
        return;
    }
    const std::shared_ptr<detail::StreamState> state = std::move(state_);
    std::shared_ptr<detail::Exchange> told;
    std::move_only_function<void()> dropped;
    {
        const std::lock_guard lock(state->mutex);
        dropped = std::exchange(state->on_closed, nullptr);
        if (!state->closed && !std::exchange(state->finished, true)) {
            told = std::exchange(state->exchange, nullptr);
        }
    }
    if (told != nullptr) {
        told->stream_ready(state->number);
    }
}

bool StreamWriter::closed() const {
    if (state_ == nullptr) {
        return true;
    }
    const std::lock_guard lock(state_->mutex);
    return state_->closed;
}

void StreamWriter::on_closed(std::move_only_function<void()> callback) {
    if (state_ != nullptr) {
        const std::lock_guard lock(state_->mutex);
        if (!state_->closed) {
            state_->on_closed = std::move(callback);
            return;
        }
    }
    callback();
}

} // namespace concordat::transport
