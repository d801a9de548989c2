// One client connection as a state machine with callbacks.
//
//   waiting ──▶ connecting ──▶ idle ◀──▶ busy
//      └─────────────┴───────────┴────────┴──▶ closed
//
// One read is always pending: on an idle connection it sees the peer's end (or bytes nobody asked
// for) at once, and on a busy one the answer comes without another system call.
#pragma once

#include "participant-sdk/src/transport/client_shard.hpp"
#include "participant-sdk/src/transport/head_scanner.hpp"
#include "participant-sdk/src/transport/message_parser.hpp"
#include "participant-sdk/src/transport/stream_traits.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace concordat::transport::detail {

template <class Stream>
class ClientConnection final : public PooledConnection,
                               public Timed,
                               public std::enable_shared_from_this<ClientConnection<Stream>> {
public:
    ClientConnection(std::shared_ptr<ClientShared> shared, IoLoop& loop,
                     std::shared_ptr<ClientPool> pool);
    ~ClientConnection() override;

    void start();
    void connect(std::vector<Endpoint> endpoints) override;
    void begin(Pending pending) override;
    void cancel() override;
    void discard() override;
    [[nodiscard]] bool is_waiting_for_address() const noexcept override {
        return state_ == State::waiting;
    }
    void on_deadline(Time now) override;

private:
    enum class State : std::uint8_t { waiting, connecting, idle, busy, closed };
    using Kind = TransportError::Kind;
    using Effect = TransportError::Effect;

    void connect_next();
    void connected();
    void connect_failed(std::string detail);
    void read();
    void on_read(std::size_t bytes, bool ended, const std::string& broken);
    void flush();
    bool flush_at_once();
    void parse();
    bool parse_head();
    bool parse_body();
    [[nodiscard]] bool has_sound_framing() const;
    void on_broken(const std::string& detail, bool ended);
    void finish();
    void fail(Kind kind, std::string detail);
    void close();

    [[nodiscard]] std::string_view unread() const noexcept {
        return {in_.get() + in_begin_, in_end_ - in_begin_};
    }
    [[nodiscard]] std::array<boost::asio::const_buffer, 2> unsent() const noexcept;
    [[nodiscard]] std::size_t request_size() const noexcept {
        return pending_.head.size() + pending_.body.size();
    }

    const std::shared_ptr<ClientShared> shared_;
    IoLoop& loop_;
    std::shared_ptr<ClientPool> pool_; // until closed
    std::optional<Stream> stream_;
    std::vector<Endpoint> endpoints_;
    std::size_t next_endpoint_ = 0;

    State state_ = State::waiting;
    bool read_pending_ = false;
    bool write_pending_ = false;
    bool reused_ = false;       // this exchange is not the connection's first
    bool answer_begun_ = false; // any byte of it has come
    std::size_t exchanges_ = 0;
    std::size_t interim_answers_ = 0;

    const std::size_t in_capacity_;
    const std::unique_ptr<char[]> in_;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;

    Pending pending_;
    std::size_t sent_ = 0;
    HeadScanner scanner_;
    Response response_;
    std::optional<ResponseParser> parser_;
};

extern template class ClientConnection<Socket>;

} // namespace concordat::transport::detail
