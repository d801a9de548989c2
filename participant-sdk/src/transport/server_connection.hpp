// One server connection as a state machine with callbacks.
//
//   reading_head ──▶ (writing_continue) ──▶ reading_body ──▶ handling ──▶ writing ──▶ reading_head
//        │                    │                  │              └──▶ streaming ──┘  or lingering
//        └────────────────────┴── refused ───────┴──▶ writing ──▶ lingering ──▶ closed
//
// One read is pending at all times but when the buffer is full: it sees the peer's end early and,
// after a short read, costs no system call until bytes are there. Writes are tried at once and wait
// only for what the socket does not take.
//
// Template on the stream: a TLS stream drops in with its own StreamTraits.
#pragma once

#include "participant-sdk/src/transport/head_scanner.hpp"
#include "participant-sdk/src/transport/io_loop.hpp"
#include "participant-sdk/src/transport/message_parser.hpp"
#include "participant-sdk/src/transport/server_shared.hpp"
#include "participant-sdk/src/transport/stream_traits.hpp"

#include <array>
#include <atomic>
#include <optional>
#include <utility>

namespace concordat::transport::detail {

template <class Stream>
class ServerConnection final : public StoppableConnection,
                               public Timed,
                               public std::enable_shared_from_this<ServerConnection<Stream>> {
public:
    ServerConnection(std::shared_ptr<ServerShared> shared, IoLoop& loop, Stream stream,
                     std::string remote_address);
    ~ServerConnection() override;

    // On the loop, once.
    void start();

    void respond(std::uint64_t number, Response response) override;
    void abandon(std::uint64_t number) override;
    std::shared_ptr<StreamState> open_stream(std::uint64_t number, Response response) override;
    void stream_ready(std::uint64_t number) override;
    void begin_stop() override;
    void close_now() override;
    void on_deadline(Time now) override;

private:
    enum class State : std::uint8_t {
        reading_head,
        writing_continue,
        reading_body,
        handling,
        writing,
        streaming,
        lingering,
        closed,
    };
    using Kind = ProtocolError::Kind;

    [[nodiscard]] std::string_view unread() const noexcept {
        return {in_.get() + in_begin_, in_end_ - in_begin_};
    }
    [[nodiscard]] std::array<boost::asio::const_buffer, 2> unsent() const noexcept;
    [[nodiscard]] bool on_loop() const noexcept { return IoLoop::current() == &loop_; }
    // Runs the function now when on the loop, else posts it; does nothing once closed.
    template <class Function>
    void dispatch(Function function);

    void read();
    void on_read(std::size_t bytes, bool ended, bool broken);
    void advance();
    bool step_head();
    bool accept_head(std::string_view head);
    void begin_body();
    bool step_body();
    void call_handler();

    void answer(std::uint64_t number, Response response);
    void begin_stream(std::uint64_t number, Response response,
                      const std::shared_ptr<StreamState>& stream);
    void pump_stream();
    bool take_from_stream();
    void end_stream() noexcept;
    void refuse(Kind kind, int status, std::string_view detail);
    void begin_answer(Response response);
    void flush();
    bool flush_at_once();
    void on_written(std::size_t bytes);
    void written();
    void finish_exchange();
    void linger();
    void check_body_rate(Time now);

    const std::shared_ptr<ServerShared> shared_;
    IoLoop& loop_;
    const std::shared_ptr<Mailbox> mailbox_;
    std::optional<Stream> stream_; // empty once closed
    const std::string remote_address_;
    std::atomic<bool> closed_{false};

    State state_ = State::reading_head;
    bool read_pending_ = false;
    bool write_pending_ = false;
    bool advancing_ = false;
    bool pumping_ = false;
    bool peer_ended_ = false;
    bool stopping_ = false;
    bool head_begun_ = false;
    bool close_after_ = false;
    bool omit_body_ = false; // the request was HEAD

    const std::size_t in_capacity_;
    const std::unique_ptr<char[]> in_;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;
    std::size_t lingered_bytes_ = 0;

    HeadScanner scanner_;
    Framing framing_;
    Request request_;
    std::optional<RequestParser> parser_;
    std::uint64_t number_ = 0;
    Time body_begun_;
    std::size_t body_bytes_ = 0;

    std::string out_;
    std::string out_body_;
    std::size_t out_sent_ = 0; // of both together
    std::shared_ptr<StreamState> event_stream_;
};

template <class Stream>
template <class Function>
void ServerConnection<Stream>::dispatch(Function function) {
    if (closed_) {
        return;
    }
    if (on_loop()) {
        function(*this);
        return;
    }
    mailbox_->post([self = this->shared_from_this(), function = std::move(function)]() mutable {
        if (self->state_ != State::closed) {
            function(*self);
        }
    });
}

extern template class ServerConnection<Socket>;

} // namespace concordat::transport::detail
