#include "coordinator/log/peer_codec.hpp"
#include "coordinator/log/peer_transport.hpp"
#include "tests/unit/log/node_harness.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

namespace concordat::log::test {
namespace {

/// What the callbacks of one transport brought.
class Inbox {
public:
    PeerTransportCallbacks callbacks() {
        return {
            [this](Message message) { add([&] { messages.push_back(std::move(message)); }); },
            [this](Peer, std::uint64_t incarnation) {
                const std::lock_guard lock{mutex_};
                return incarnation == unwelcome ? std::optional<std::string>{"unwelcome"}
                                                : std::nullopt;
            },
            [this](Peer, const std::string& reason) { add([&] { refusals.push_back(reason); }); }};
    }
    bool wait(const std::function<bool()>& condition) {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, std::chrono::seconds{20}, condition);
    }

    std::vector<Message> messages;
    std::vector<std::string> refusals;
    std::uint64_t unwelcome = 0;

private:
    template <class Change>
    void add(Change change) {
        {
            const std::lock_guard lock{mutex_};
            change();
        }
        changed_.notify_all();
    }
    std::mutex mutex_;
    std::condition_variable changed_;
};

PeerTransportOptions options_of(Peer self, const std::vector<VotingMember>& members) {
    PeerTransportOptions options;
    options.self = self;
    options.cluster_name = "test";
    options.incarnation = self * 100;
    options.seed = self;
    for (const VotingMember& member : members) {
        if (member.id == self) {
            options.listen_address = member.address;
        } else {
            options.others.push_back(member);
        }
    }
    return options;
}

std::vector<VotingMember> two_members() {
    return {{1, "127.0.0.1:" + std::to_string(free_port())},
            {2, "127.0.0.1:" + std::to_string(free_port())}};
}

/// Sends until something arrives: before the connection stands, messages are dropped.
bool send_until_received(PeerTransport& from, Inbox& to, const Message& message) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (std::chrono::steady_clock::now() < deadline) {
        if (from.is_connected(message.to)) {
            from.send(message);
            return to.wait([&] { return !to.messages.empty(); });
        }
        std::this_thread::yield();
    }
    return false;
}

TEST(PeerTransport, carries_messages_and_dials_again_when_the_peer_restarts) {
    // The plain way, and the way after a lost connection.
    const auto members = two_members();
    Inbox inbox1;
    Inbox inbox2;
    auto first = make_peer_transport(options_of(1, members), inbox1.callbacks());
    ASSERT_TRUE(first->start());
    for (int life = 0; life < 2; ++life) {
        inbox2.messages.clear();
        auto second = make_peer_transport(options_of(2, members), inbox2.callbacks());
        ASSERT_TRUE(second->start());
        ASSERT_TRUE(send_until_received(*first, inbox2, {1, 2, AppendEntriesResult{4, 0, 9}}));
        EXPECT_EQ(inbox2.messages.at(0).from, 1U);
        EXPECT_EQ(std::get<AppendEntriesResult>(inbox2.messages.at(0).body).last_log_index, 9U);
        second->stop();
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
        while (first->is_connected(2) && std::chrono::steady_clock::now() < deadline) {
            std::this_thread::yield();
        }
        EXPECT_FALSE(first->is_connected(2));
    }
}

TEST(PeerTransport, trap_12_streams_a_large_snapshot_in_pieces_between_other_messages) {
    // The engine wants it whole; the wire gets it in checked pieces that delay nobody else.
    const auto members = two_members();
    Inbox inbox1;
    Inbox inbox2;
    auto first = make_peer_transport(options_of(1, members), inbox1.callbacks());
    auto second = make_peer_transport(options_of(2, members), inbox2.callbacks());
    ASSERT_TRUE(first->start());
    ASSERT_TRUE(second->start());
    std::string data(48UL << 20, '\0');
    std::mt19937_64 random{1};
    for (std::size_t i = 0; i < data.size(); i += 4096) {
        data[i] = static_cast<char>(random());
    }
    const auto shared = std::make_shared<const std::string>(std::move(data));
    InstallSnapshot install{4, {100, 3, 1, "configuration"}, shared};
    ASSERT_TRUE(send_until_received(*first, inbox2, {1, 2, TimeoutNow{4, 1, 1}}));
    first->send({1, 2, install});
    first->send({1, 2, TimeoutNow{4, 2, 2}});
    ASSERT_TRUE(inbox2.wait([&] { return inbox2.messages.size() == 3; }));
    EXPECT_TRUE(std::holds_alternative<TimeoutNow>(inbox2.messages[1].body)) << "not held up";
    const auto& received = std::get<InstallSnapshot>(inbox2.messages[2].body);
    EXPECT_EQ(received.metadata, install.metadata);
    EXPECT_TRUE(*received.data == *shared);
}

TEST(PeerTransport, refuses_strangers_and_says_why) {
    // Another cluster, and an incarnation that the node objects to.
    const auto members = two_members();
    for (const bool other_cluster : {true, false}) {
        Inbox inbox1;
        Inbox inbox2;
        auto options = options_of(1, members);
        if (other_cluster) {
            options.cluster_name = "another";
        } else {
            inbox2.unwelcome = options.incarnation;
        }
        auto first = make_peer_transport(options, inbox1.callbacks());
        auto second = make_peer_transport(options_of(2, members), inbox2.callbacks());
        ASSERT_TRUE(first->start());
        ASSERT_TRUE(second->start());
        ASSERT_TRUE(inbox1.wait([&] {
            return std::ranges::any_of(inbox1.refusals, [](const std::string& reason) {
                return reason.starts_with("refuses this node: ");
            });
        }));
        ASSERT_TRUE(inbox2.wait([&] { return !inbox2.refusals.empty(); }));
        EXPECT_FALSE(first->is_connected(2));
    }
}

/// A plain connection that sends bytes and waits for the other side to close it.
bool is_closed_after(std::uint16_t port, const std::string& bytes) {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        ::close(descriptor);
        return false;
    }
    static_cast<void>(::send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    char answer[4096];
    ssize_t count = 0;
    do {
        count = ::recv(descriptor, answer, sizeof answer, 0);
    } while (count > 0);
    ::close(descriptor);
    return true;
}

TEST(PeerTransport, closes_connections_that_talk_nonsense) {
    // Nobody can crash a node, or make it reserve memory, by connecting to its peer port.
    const auto members = two_members();
    Inbox inbox1;
    auto options = options_of(1, members);
    options.handshake_timeout = std::chrono::milliseconds{200};
    auto first = make_peer_transport(options, inbox1.callbacks());
    ASSERT_TRUE(first->start());
    std::string hello;
    encode_frame(Hello{peer_protocol_version, "test", 2, 1, 200}, hello);
    std::string message;
    encode_frame(Message{2, 1, TimeoutNow{1, 1, 1}}, message);
    std::string damaged = message;
    damaged.back() = static_cast<char>(damaged.back() + 1);
    std::string piece;
    encode_frame(SnapshotPiece{0, "not announced"}, piece);
    std::string huge;
    encode_frame(SnapshotStart{1, {1, 1, 1, "c"}, ~std::uint64_t{0}, 0}, huge);
    for (const std::string& bytes :
         {std::string{"GET / HTTP/1.1\r\n\r\n"}, std::string(100, '\xff'), message, hello + damaged,
          hello + piece, hello + huge, std::string{}}) {
        EXPECT_TRUE(is_closed_after(first->port(), bytes));
    }
    EXPECT_TRUE(inbox1.messages.empty());
}

} // namespace
} // namespace concordat::log::test
