#include "tests/unit/transport/support.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace concordat::transport::test {

namespace {

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

} // namespace

RawSocket& RawSocket::operator=(RawSocket&& other) noexcept {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    unread_ = std::move(other.unread_);
    return *this;
}

RawSocket::~RawSocket() {
    close();
}

RawSocket RawSocket::connect(std::uint16_t port, int receive_buffer_bytes) {
    RawSocket connected{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (receive_buffer_bytes > 0) {
        ::setsockopt(connected.descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                     sizeof receive_buffer_bytes);
    }
    const timeval limit{.tv_sec = patience.count(), .tv_usec = 0};
    ::setsockopt(connected.descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const int yes = 1;
    ::setsockopt(connected.descriptor_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    const sockaddr_in address = loopback(port);
    const int failed = ::connect(connected.descriptor_, reinterpret_cast<const sockaddr*>(&address),
                                 sizeof address);
    EXPECT_EQ(failed, 0) << "cannot connect to port " << port;
    return connected;
}

bool RawSocket::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

void RawSocket::end_sending() {
    ::shutdown(descriptor_, SHUT_WR);
}

void RawSocket::reset() {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
}

void RawSocket::close() {
    if (descriptor_ >= 0) {
        ::close(std::exchange(descriptor_, -1));
    }
}

std::string RawSocket::receive(std::size_t limit) {
    if (!unread_.empty()) {
        std::string bytes = unread_.substr(0, limit);
        unread_.erase(0, bytes.size());
        return bytes;
    }
    std::string bytes(limit, '\0');
    const ssize_t received = ::recv(descriptor_, bytes.data(), bytes.size(), 0);
    bytes.resize(received > 0 ? static_cast<std::size_t>(received) : 0);
    return bytes;
}

std::string RawSocket::receive_until(std::string_view text) {
    std::string all;
    while (all.find(text) == std::string::npos) {
        const std::string more = receive();
        if (more.empty()) {
            break;
        }
        all += more;
    }
    return all;
}

std::string RawSocket::receive_to_end() {
    std::string all;
    for (std::string more = receive(); !more.empty(); more = receive()) {
        all += more;
    }
    return all;
}

std::string RawSocket::receive_response() {
    std::string all = receive_until("\r\n\r\n");
    const std::size_t head = all.find("\r\n\r\n");
    if (head == std::string::npos) {
        return all;
    }
    const std::size_t field = all.find("Content-Length: ");
    const std::size_t length =
        field < head ? std::strtoul(all.c_str() + field + 16, nullptr, 10) : 0;
    const std::size_t whole = head + 4 + length;
    while (all.size() < whole) {
        const std::string more = receive();
        if (more.empty()) {
            return all;
        }
        all += more;
    }
    unread_.insert(0, all, whole);
    all.resize(whole);
    return all;
}

ScriptedServer::ScriptedServer(Script script)
    : script_(std::move(script)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 128), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { run(); });
}

ScriptedServer::~ScriptedServer() {
    {
        const std::lock_guard lock(mutex_);
        over_ = true;
        changed_.notify_all();
    }
    ::shutdown(listener_, SHUT_RDWR); // wakes accept()
    accepting_.join();
    ::close(listener_);
    for (std::thread& thread : serving_) {
        thread.join();
    }
}

void ScriptedServer::run() {
    for (;;) {
        const int accepted = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (accepted < 0) {
            return;
        }
        const timeval limit{.tv_sec = patience.count(), .tv_usec = 0};
        ::setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::size_t number = 0;
        {
            const std::lock_guard lock(mutex_);
            number = accepted_++;
        }
        serving_.emplace_back(
            [this, number, socket = RawSocket{accepted}]() mutable { script_(socket, number); });
    }
}

void ScriptedServer::hang() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return over_; });
}

std::size_t ScriptedServer::connections() {
    const std::lock_guard lock(mutex_);
    return accepted_;
}

bool eventually(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > limit) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

Client::Result Calls::take() {
    auto result = results_.take();
    if (!result) {
        ADD_FAILURE() << "no callback came";
        return Response{.status = 0, .headers = {}, .body = {}, .content_type = {}};
    }
    return std::move(*result);
}

OutboundRequest get(std::string target) {
    OutboundRequest request;
    request.method = "GET";
    request.target = std::move(target);
    return request;
}

OutboundRequest post(std::string target, std::string body) {
    OutboundRequest request;
    request.target = std::move(target);
    request.body = std::move(body);
    return request;
}

} // namespace concordat::transport::test
