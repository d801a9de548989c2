#pragma once

// Runs decision logs in one process: the test's thread is the core thread of every node. Nodes use
// real files in a temporary directory and real TCP on the loopback interface.

#include "coordinator/log/node_log.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace concordat::log::test {

/// Removed with everything in it.
class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string name =
            (std::filesystem::temp_directory_path() / "concordat-log-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

/// A state machine whose state is the list of xids of the End commands it saw.
class RecordingMachine final : public StateMachine {
public:
    void apply(core::LogIndex index, std::vector<core::Command>&& commands) override {
        ASSERT_EQ(index.value(), applied_.value() + 1) << "entries must come in order, once";
        applied_ = index;
        for (const core::Command& command : commands) {
            if (const auto* end = std::get_if<core::End>(&command)) {
                xids_.push_back(end->xid.value());
            }
        }
    }
    void restore(core::SnapshotContent&& content) override {
        ++restores_;
        applied_ = content.applied_index;
        xids_.clear();
        for (const core::Xid& xid : content.finished_order) {
            xids_.push_back(xid.value());
        }
    }
    core::SnapshotContent capture() override {
        core::SnapshotContent content;
        content.applied_index = applied_;
        for (const std::string& xid : xids_) {
            content.finished_order.emplace_back(xid);
        }
        return content;
    }
    void role_changed(const RoleChange& change) override { role_ = change; }

    [[nodiscard]] const std::vector<std::string>& xids() const { return xids_; }
    [[nodiscard]] core::LogIndex applied() const { return applied_; }
    [[nodiscard]] const RoleChange& role() const { return role_; }
    [[nodiscard]] int restores() const { return restores_; }

private:
    core::LogIndex applied_;
    std::vector<std::string> xids_;
    RoleChange role_;
    int restores_ = 0;
};

/// Functions posted to one node, run by the test's thread.
struct Mailbox {
    std::mutex mutex;
    std::deque<std::function<void()>> functions;
};

/// Wakes the test's thread.
struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ring = false;
};

class TestNode {
public:
    TestNode(Options options, std::shared_ptr<Bell> bell, NodeEnvironment environment = {})
        : machine_(std::make_unique<RecordingMachine>()), mailbox_(std::make_shared<Mailbox>()) {
        if (!environment.fatal) {
            environment.fatal = [this](const std::string& reason) {
                const std::lock_guard lock{fatal_mutex_};
                fatal_ = reason;
            };
        }
        auto executor = [mailbox = mailbox_, bell](std::function<void()> function) {
            {
                const std::lock_guard lock{mailbox->mutex};
                mailbox->functions.push_back(std::move(function));
            }
            {
                const std::lock_guard lock{bell->mutex};
                bell->ring = true;
            }
            bell->rung.notify_one();
        };
        auto opened =
            open_node_log(std::move(options), *machine_, executor, std::move(environment));
        if (opened) {
            log_ = std::move(*opened);
            log_->start();
        } else {
            error_ = opened.error().message;
        }
    }

    void turn() {
        std::deque<std::function<void()>> functions;
        {
            const std::lock_guard lock{mailbox_->mutex};
            functions.swap(mailbox_->functions);
        }
        for (const auto& function : functions) {
            function();
        }
        log_->tick(core::Instant{std::chrono::duration_cast<core::Duration>(
            std::chrono::steady_clock::now().time_since_epoch())});
    }

    [[nodiscard]] bool opened() const { return log_ != nullptr; }
    [[nodiscard]] const std::string& error() const { return error_; }
    [[nodiscard]] NodeLog& log() { return *log_; }
    [[nodiscard]] const RecordingMachine& machine() const { return *machine_; }
    [[nodiscard]] bool leads() const { return machine_->role().role == Role::leader; }
    [[nodiscard]] std::string fatal() {
        const std::lock_guard lock{fatal_mutex_};
        return fatal_;
    }
    bool append(const std::vector<std::string>& xids) {
        std::vector<core::Command> commands;
        for (const std::string& xid : xids) {
            commands.emplace_back(core::End{core::Xid{xid}, {}});
        }
        return log_->append(commands).has_value();
    }

private:
    std::unique_ptr<RecordingMachine> machine_;
    std::shared_ptr<Mailbox> mailbox_;
    std::unique_ptr<NodeLog> log_;
    std::string error_;
    std::mutex fatal_mutex_;
    std::string fatal_;
};

/// A free port on the loopback interface.
inline std::uint16_t free_port() {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(descriptor, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length), 0);
    ::close(descriptor);
    return ntohs(address.sin_port);
}

/// A group of nodes that can be stopped, killed and started again.
class Group {
public:
    using Adjust = std::function<void(Options&)>;

    explicit Group(std::size_t size, Adjust adjust = {})
        : adjust_(std::move(adjust)), nodes_(size) {
        for (std::size_t i = 0; i < size; ++i) {
            members_.push_back(
                {core::NodeId{i + 1},
                 size == 1 ? std::string{"single"} : "127.0.0.1:" + std::to_string(free_port())});
        }
    }
    ~Group() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            kill(i);
        }
    }
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    [[nodiscard]] Options options(std::size_t i) const {
        Options options;
        options.node = members_[i].id;
        options.data_directory = directory_of(i);
        options.members = members_;
        options.peer_listen_address = members_.size() == 1 ? "" : members_[i].peer_address;
        options.cluster_name = "test";
        options.segment_bytes = 1 << 20;
        options.election_timeout = std::chrono::milliseconds{150};
        options.heartbeat_interval = std::chrono::milliseconds{15};
        if (adjust_) {
            adjust_(options);
        }
        return options;
    }
    [[nodiscard]] std::filesystem::path directory_of(std::size_t i) const {
        return directory_.path() / std::to_string(i + 1);
    }
    void start(std::size_t i, NodeEnvironment environment = {}) {
        nodes_[i] = std::make_unique<TestNode>(options(i), bell_, std::move(environment));
    }
    void start_all() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            start(i);
            ASSERT_TRUE(nodes_[i]->opened()) << nodes_[i]->error();
        }
    }
    void kill(std::size_t i) {
        if (nodes_[i] && nodes_[i]->opened()) {
            nodes_[i]->log().abandon();
        }
        nodes_[i].reset();
    }
    void stop(std::size_t i) {
        nodes_[i]->log().stop();
        nodes_[i].reset();
    }
    [[nodiscard]] TestNode& node(std::size_t i) { return *nodes_[i]; }
    [[nodiscard]] bool is_up(std::size_t i) const { return nodes_[i] != nullptr; }
    [[nodiscard]] std::size_t size() const { return nodes_.size(); }

    void turn() {
        for (const auto& node : nodes_) {
            if (node && node->opened()) {
                node->turn();
            }
        }
        std::unique_lock lock{bell_->mutex};
        bell_->rung.wait_for(lock, std::chrono::milliseconds{2}, [&] { return bell_->ring; });
        bell_->ring = false;
    }
    /// Runs until the condition holds; false when it does not in time.
    bool run_until(const std::function<bool()>& condition,
                   std::chrono::milliseconds limit = std::chrono::seconds{20}) {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) {
                return false;
            }
            turn();
        }
        return true;
    }
    /// Index of the leader, once there is one.
    std::size_t leader() {
        std::size_t found = nodes_.size();
        EXPECT_TRUE(run_until([&] {
            found = nodes_.size();
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                if (nodes_[i] && nodes_[i]->leads()) {
                    found = i;
                }
            }
            return found < nodes_.size();
        })) << "no leader was elected";
        return found;
    }

private:
    TemporaryDirectory directory_;
    Adjust adjust_;
    std::vector<Member> members_;
    std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
    std::vector<std::unique_ptr<TestNode>> nodes_;
};

} // namespace concordat::log::test
