#include "participant-sdk/src/transport/server.hpp"

#include "participant-sdk/src/transport/serialiser.hpp"
#include "participant-sdk/src/transport/server_connection.hpp"
#include "participant-sdk/src/transport/server_shared.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/address.hpp>

#include <future>
#include <utility>

namespace concordat::transport {

namespace detail {

bool ServerShared::admit(const std::string& address) {
    const std::lock_guard lock(mutex);
    std::size_t& here = open_per_address[address];
    if (open >= options.max_connections || here >= options.max_connections_per_address) {
        if (here == 0) {
            open_per_address.erase(address);
        }
        refused.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    ++open;
    ++here;
    accepted.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void ServerShared::depart(const std::string& address) {
    // Notified under the lock: the waiter may destroy this object as soon as it gets the lock.
    const std::lock_guard lock(mutex);
    --open;
    const auto entry = open_per_address.find(address);
    if (--entry->second == 0) {
        open_per_address.erase(entry);
    }
    departed.notify_all();
}

bool ServerShared::wait_until_empty(std::chrono::steady_clock::time_point limit) {
    std::unique_lock lock(mutex);
    return departed.wait_until(lock, limit, [this] { return open == 0; });
}

void ServerShared::wait_until_empty() {
    std::unique_lock lock(mutex);
    departed.wait(lock, [this] { return open == 0; });
}

Response ServerShared::render(const ProtocolError& error) const {
    Response response;
    if (formatter) {
        response = formatter(error);
    }
    response.status = error.status;
    return response;
}

} // namespace detail

using boost::system::error_code;

namespace {

// After running out of file descriptors: long enough for some to be freed, short enough for a
// probe.
constexpr std::chrono::milliseconds accept_pause{50};

} // namespace

struct Server::State final : detail::Timed, std::enable_shared_from_this<Server::State> {
    State(IoThreads& io_threads, ServerOptions options, Handler handler, ErrorFormatter formatter)
        : threads(io_threads),
          shared(std::make_shared<detail::ServerShared>(std::move(options), std::move(handler),
                                                        std::move(formatter), io_threads.size())) {}

    std::expected<void, std::string> listen();
    void accept();
    void accepted(detail::Socket socket, std::size_t index);
    void refuse(detail::Socket socket);
    void stop_accepting();
    void on_deadline(detail::Time now) override;
    // Runs the function on every connection, on its loop. False when the loops have ended.
    template <class Function>
    bool on_each_connection(Function function);

    IoThreads& threads;
    std::shared_ptr<detail::ServerShared> shared;
    std::unique_ptr<detail::Acceptor> acceptor; // on loop 0 once listening
    std::uint16_t port = 0;
    std::size_t turn = 0;
    bool listening = false;
    std::atomic<bool> stopped{false};
};

std::expected<void, std::string> Server::State::listen() {
    error_code error;
    const auto address = boost::asio::ip::make_address(shared->options.address, error);
    if (error) {
        return std::unexpected("\"" + shared->options.address + "\" is not an IP address");
    }
    const detail::Endpoint endpoint(address, shared->options.port);
    acceptor = std::make_unique<detail::Acceptor>(threads.loop(0).context());
    acceptor->open(endpoint.protocol(), error);
    if (!error) {
        acceptor->set_option(boost::asio::socket_base::reuse_address(true), error);
    }
    if (!error) {
        acceptor->bind(endpoint, error);
    }
    if (!error) {
        acceptor->listen(shared->options.backlog, error);
    }
    if (!error) {
        port = acceptor->local_endpoint(error).port();
    }
    if (error) {
        acceptor.reset();
        return std::unexpected("cannot listen on " + shared->options.address + ":" +
                               std::to_string(shared->options.port) + ": " + error.message());
    }
    listening = true;
    threads.post(0, [self = shared_from_this()] {
        self->threads.loop(0).deadlines().add(*self);
        self->accept();
    });
    return {};
}

void Server::State::accept() {
    if (acceptor == nullptr) {
        return;
    }
    const std::size_t index = turn++ % threads.size();
    acceptor->async_accept(
        threads.loop(index).context(),
        [self = shared_from_this(), index](const error_code& error, detail::Socket socket) {
            if (self->acceptor == nullptr) {
                return; // stopped meanwhile
            }
            if (!error) {
                self->accepted(std::move(socket), index);
                self->accept();
            } else {
                self->threads.loop(0).deadlines().set(*self, detail::Clock::now() + accept_pause);
            }
        });
}

void Server::State::on_deadline(detail::Time /*now*/) {
    accept();
}

void Server::State::accepted(detail::Socket socket, std::size_t index) {
    error_code error;
    const auto remote = socket.remote_endpoint(error);
    if (error) {
        return; // gone already
    }
    std::string address = remote.address().to_string();
    if (!shared->admit(address)) {
        refuse(std::move(socket));
        return;
    }
    auto connection = std::make_shared<detail::ServerConnection<detail::Socket>>(
        shared, threads.loop(index), std::move(socket), std::move(address));
    if (index == 0) {
        connection->start();
    } else {
        threads.post(index, [connection = std::move(connection)] { connection->start(); });
    }
}

// Best effort: one try to say why, then close. A connection over the cap earns no buffers and no
// time.
void Server::State::refuse(detail::Socket socket) {
    const Response response =
        shared->render({ProtocolError::Kind::too_many_connections, 503, "too many connections"});
    std::string out;
    if (detail::render_head(out, response,
                            {.http11 = true,
                             .close = true,
                             .stream = false,
                             .date = threads.loop(0).http_date()})) {
        error_code ignored;
        out.append(response.body);
        socket.non_blocking(true, ignored);
        socket.write_some(boost::asio::buffer(out), ignored);
        socket.shutdown(detail::Socket::shutdown_send, ignored);
    }
}

void Server::State::stop_accepting() {
    threads.loop(0).deadlines().remove(*this);
    acceptor.reset();
}

template <class Function>
bool Server::State::on_each_connection(Function function) {
    for (std::size_t index = 0; index < threads.size(); ++index) {
        const bool posted = threads.loop(index).mailbox()->post([self = shared, index, function] {
            // A copy: closing changes the registry.
            const auto registry = self->connections[index];
            for (const auto& [key, connection] : registry) {
                function(*connection);
            }
        });
        if (!posted) {
            return false;
        }
    }
    return true;
}

Server::Server(IoThreads& threads, ServerOptions options, Handler handler, ErrorFormatter formatter)
    : state_(std::make_shared<State>(threads, std::move(options), std::move(handler),
                                     std::move(formatter))) {}

Server::~Server() {
    stop();
}

std::expected<void, std::string> Server::start() {
    return state_->listen();
}

std::uint16_t Server::port() const noexcept {
    return state_->port;
}

void Server::stop(std::chrono::milliseconds grace) {
    if (!state_->listening || state_->stopped.exchange(true)) {
        return;
    }
    const auto limit = std::chrono::steady_clock::now() + grace;
    auto accepting_ended = std::make_shared<std::promise<void>>();
    auto ended = accepting_ended->get_future();
    const bool posted = state_->threads.loop(0).mailbox()->post([state = state_, accepting_ended] {
        state->stop_accepting();
        accepting_ended->set_value();
    });
    if (!posted) {
        return; // the loops have ended: nothing runs any more
    }
    ended.wait();
    state_->shared->stopping = true;
    using detail::StoppableConnection;
    if (!state_->on_each_connection([](StoppableConnection& it) { it.begin_stop(); })) {
        return;
    }
    if (!state_->shared->wait_until_empty(limit)) {
        state_->on_each_connection([](StoppableConnection& it) { it.close_now(); });
        state_->shared->wait_until_empty();
    }
}

ServerStatistics Server::statistics() const noexcept {
    const detail::ServerShared& shared = *state_->shared;
    ServerStatistics statistics{.connections_accepted = shared.accepted,
                                .connections_refused = shared.refused,
                                .connections_open = 0,
                                .requests = shared.requests,
                                .protocol_errors = shared.protocol_errors,
                                .timeouts = shared.timeouts};
    const std::lock_guard lock(shared.mutex);
    statistics.connections_open = shared.open;
    return statistics;
}

} // namespace concordat::transport
