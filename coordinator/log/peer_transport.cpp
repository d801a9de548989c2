#include "coordinator/log/peer_transport.hpp"

#include "coordinator/log/peer_connection.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <fmt/core.h>

#include <map>
#include <random>
#include <set>
#include <thread>

namespace concordat::log {
namespace {

constexpr std::size_t max_inbound_connections = 64;

struct HostAndPort {
    std::string host;
    std::string port;
};

std::optional<HostAndPort> split_address(const std::string& address) {
    const std::size_t colon = address.rfind(':');
    if (colon == std::string::npos || colon + 1 == address.size()) {
        return std::nullopt;
    }
    std::string host = address.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    }
    return HostAndPort{std::move(host), address.substr(colon + 1)};
}

class TcpPeerTransport final : public PeerTransport {
public:
    TcpPeerTransport(PeerTransportOptions options, PeerTransportCallbacks callbacks)
        : options_(std::move(options)), callbacks_(std::move(callbacks)), random_(options_.seed) {
        for (const VotingMember& other : options_.others) {
            queues_.try_emplace(other.id,
                                std::make_shared<SendQueue>(context_, options_.max_queue_bytes));
        }
    }
    ~TcpPeerTransport() override { stop(); }

    std::expected<void, std::string> start() override {
        if (auto bound = bind(); !bound) {
            return bound;
        }
        asio::co_spawn(context_, accept_peers(), asio::detached);
        for (const VotingMember& other : options_.others) {
            asio::co_spawn(context_, dial(other), asio::detached);
        }
        thread_ = std::thread([this] { context_.run(); });
        return {};
    }

    void send(Message message) override {
        const auto queue = queues_.find(message.to);
        if (queue != queues_.end()) {
            queue->second->push(std::move(message));
        }
    }

    bool is_connected(Peer peer) const override {
        const auto queue = queues_.find(peer);
        return queue != queues_.end() && queue->second->is_open();
    }

    std::uint16_t port() const override { return port_; }

    void stop() override {
        if (!thread_.joinable()) {
            return;
        }
        context_.stop();
        thread_.join();
        // The io thread is gone, so its sockets are ours. The coroutines that wait for them are
        // destroyed with the context.
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        for (const auto& [peer, queue] : queues_) {
            queue->close();
        }
        for (const std::weak_ptr<PeerConnection>& weak : connections_) {
            if (const auto connection = weak.lock()) {
                connection->close();
            }
        }
    }

private:
    std::expected<void, std::string> bind() {
        const auto address = split_address(options_.listen_address);
        if (!address) {
            return std::unexpected(
                fmt::format("the peer address \"{}\" is not host:port", options_.listen_address));
        }
        boost::system::error_code error;
        tcp::resolver resolver{context_};
        const auto found =
            resolver.resolve(address->host, address->port, tcp::resolver::passive, error);
        if (!error) {
            const tcp::endpoint endpoint = found.begin()->endpoint();
            acceptor_.open(endpoint.protocol(), error);
            if (!error) {
                acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
                acceptor_.bind(endpoint, error);
            }
            if (!error) {
                acceptor_.listen(tcp::acceptor::max_listen_connections, error);
            }
        }
        if (error) {
            return std::unexpected(fmt::format("cannot listen for peers on {}: {}",
                                               options_.listen_address, error.message()));
        }
        port_ = acceptor_.local_endpoint(error).port();
        return {};
    }

    std::shared_ptr<PeerConnection> track(tcp::socket socket) {
        std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
        auto connection = std::make_shared<PeerConnection>(std::move(socket));
        connections_.push_back(connection);
        return connection;
    }

    [[nodiscard]] bool is_member(Peer peer) const { return queues_.contains(peer); }

    [[nodiscard]] Hello hello_to(Peer peer) const {
        return {peer_protocol_version, options_.cluster_name, options_.self, peer,
                options_.incarnation};
    }

    void say_refused(Peer peer, const std::string& reason) {
        if (said_.emplace(peer, reason).second) {
            callbacks_.refused(peer, reason);
        }
    }

    /// Why a peer that says hello like this cannot be talked to.
    std::optional<std::string> objection(const Hello& hello) {
        if (hello.version != peer_protocol_version) {
            return fmt::format("speaks peer protocol {} instead of {}", hello.version,
                               peer_protocol_version);
        }
        if (hello.cluster_name != options_.cluster_name) {
            return fmt::format("belongs to cluster \"{}\", not to \"{}\"", hello.cluster_name,
                               options_.cluster_name);
        }
        if (hello.to != options_.self || !is_member(hello.from)) {
            return fmt::format("node {} looks for node {} and found node {}, or is no member",
                               hello.from, hello.to, options_.self);
        }
        return callbacks_.objection(hello.from, hello.incarnation);
    }

    // ------------------------------------------------------------ outgoing

    asio::awaitable<void> dial(VotingMember peer) {
        const auto address = split_address(peer.address);
        if (!address) {
            say_refused(peer.id, fmt::format("its address \"{}\" is not host:port", peer.address));
            co_return;
        }
        auto back_off = options_.reconnect_initial;
        while (true) {
            if (co_await talk_to(peer.id, *address)) {
                back_off = options_.reconnect_initial;
            }
            std::uniform_int_distribution<std::int64_t> jitter{1, back_off.count()};
            co_await pause(std::chrono::milliseconds{jitter(random_)});
            back_off = std::min(back_off * 2, options_.reconnect_cap);
        }
    }

    /// One connection, from dialling to its end. True when it was welcome.
    asio::awaitable<bool> talk_to(Peer peer, const HostAndPort& address) {
        tcp::resolver resolver{context_};
        const auto [resolve_error, endpoints] =
            co_await resolver.async_resolve(address.host, address.port, no_throw);
        if (resolve_error) {
            co_return false;
        }
        const auto connection = track(tcp::socket{context_});
        const Deadline deadline{*connection, options_.handshake_timeout};
        const auto [error, endpoint] =
            co_await asio::async_connect(connection->socket(), endpoints, no_throw);
        if (error || !co_await shake_hands_as_dialler(*connection, peer)) {
            co_return false;
        }
        deadline.met();
        const std::shared_ptr<SendQueue> queue = queues_.at(peer);
        queue->open();
        asio::co_spawn(context_, close_when_peer_does(connection, queue), asio::detached);
        while (queue->is_open()) {
            const std::string bytes = co_await queue->next();
            if (!bytes.empty() && !co_await connection->write(bytes)) {
                break;
            }
        }
        queue->close();
        connection->close();
        co_return true;
    }

    asio::awaitable<bool> shake_hands_as_dialler(PeerConnection& connection, Peer peer) {
        std::string bytes;
        encode_frame(hello_to(peer), bytes);
        if (!co_await connection.write(bytes)) {
            co_return false;
        }
        const auto answer = co_await connection.read_frame(max_handshake_bytes);
        if (!answer) {
            co_return false;
        }
        if (const auto* refusal = std::get_if<Refusal>(&*answer)) {
            say_refused(peer, "refuses this node: " + refusal->reason);
            co_return false;
        }
        const auto* hello = std::get_if<Hello>(&*answer);
        if (hello == nullptr || hello->from != peer) {
            co_return false;
        }
        if (const auto reason = objection(*hello)) {
            say_refused(peer, "is refused: " + *reason);
            co_return false;
        }
        co_return true;
    }

    /// The peer sends nothing here after its hello: whatever comes means that it is gone.
    asio::awaitable<void> close_when_peer_does(std::shared_ptr<PeerConnection> connection,
                                               std::shared_ptr<SendQueue> queue) {
        co_await connection->read_frame(max_handshake_bytes);
        connection->close();
        queue->close();
    }

    // ------------------------------------------------------------ incoming

    asio::awaitable<void> accept_peers() {
        while (true) {
            auto [error, socket] = co_await acceptor_.async_accept(no_throw);
            if (error || inbound_ >= max_inbound_connections) {
                co_await pause(options_.reconnect_initial);
                continue;
            }
            asio::co_spawn(context_, listen_to(track(std::move(socket))), asio::detached);
        }
    }

    asio::awaitable<void> listen_to(std::shared_ptr<PeerConnection> connection) {
        ++inbound_;
        if (const std::optional<Peer> peer = co_await shake_hands_as_listener(*connection)) {
            SnapshotAssembly assembly{options_.max_snapshot_bytes};
            while (auto frame = co_await connection->read_frame(options_.max_frame_bytes)) {
                if (!deliver(*peer, std::move(*frame), assembly)) {
                    break;
                }
            }
        }
        connection->close();
        --inbound_;
    }

    asio::awaitable<std::optional<Peer>> shake_hands_as_listener(PeerConnection& connection) {
        const Deadline deadline{connection, options_.handshake_timeout};
        const auto frame = co_await connection.read_frame(max_handshake_bytes);
        const auto* hello = frame ? std::get_if<Hello>(&*frame) : nullptr;
        if (hello == nullptr) {
            co_return std::nullopt;
        }
        const auto reason = objection(*hello);
        std::string bytes;
        if (reason) {
            say_refused(hello->from, "is refused: " + *reason);
            encode_frame(Refusal{*reason}, bytes);
        } else {
            encode_frame(hello_to(hello->from), bytes);
        }
        if (!co_await connection.write(bytes) || reason) {
            co_return std::nullopt;
        }
        deadline.met();
        co_return hello->from;
    }

    /// False when the peer broke the protocol.
    bool deliver(Peer peer, PeerFrame frame, SnapshotAssembly& assembly) {
        if (auto* message = std::get_if<Message>(&frame)) {
            message->from = peer;
            message->to = options_.self;
            callbacks_.received(std::move(*message));
            return true;
        }
        if (auto* start = std::get_if<SnapshotStart>(&frame)) {
            return assembly.start(std::move(*start)) && deliver_complete(peer, assembly);
        }
        if (const auto* piece = std::get_if<SnapshotPiece>(&frame)) {
            return assembly.add(*piece) && deliver_complete(peer, assembly);
        }
        return false;
    }

    bool deliver_complete(Peer peer, SnapshotAssembly& assembly) {
        if (!assembly.is_complete()) {
            return true;
        }
        auto install = assembly.take();
        if (!install) {
            return false;
        }
        callbacks_.received(Message{peer, options_.self, std::move(*install)});
        return true;
    }

    asio::awaitable<void> pause(std::chrono::milliseconds time) {
        asio::steady_timer timer{context_, time};
        co_await timer.async_wait(no_throw);
    }

    PeerTransportOptions options_;
    PeerTransportCallbacks callbacks_;
    asio::io_context context_{1};
    tcp::acceptor acceptor_{context_};
    std::uint16_t port_ = 0;
    std::map<Peer, std::shared_ptr<SendQueue>> queues_;      ///< fixed after construction
    std::vector<std::weak_ptr<PeerConnection>> connections_; ///< io thread, then stop()
    std::set<std::pair<Peer, std::string>> said_;
    std::size_t inbound_ = 0;
    std::mt19937_64 random_;
    std::thread thread_;
};

} // namespace

std::unique_ptr<PeerTransport> make_peer_transport(PeerTransportOptions options,
                                                   PeerTransportCallbacks callbacks) {
    return std::make_unique<TcpPeerTransport>(std::move(options), std::move(callbacks));
}

} // namespace concordat::log
