#include "participant-sdk/src/failpoint/failpoint.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>

namespace concordat::failpoint {

namespace {

struct Order {
    std::string point;
    std::size_t passage = 0;
    std::string action;
    std::string evidence;
};

std::string read_whole(const std::string& path) {
    std::string text;
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return text;
    }
    char part[1024];
    for (ssize_t got = 0; (got = ::read(file, part, sizeof part)) > 0;) {
        text.append(part, static_cast<std::size_t>(got));
    }
    ::close(file);
    return text;
}

class Plan {
public:
    /// What is to be done at this passage.
    std::optional<Order> pass(std::string_view point) {
        const std::lock_guard lock(mutex_);
        if (auto text = read_whole(path_); text != text_) {
            text_ = std::move(text);
            passages_.clear();
            parse();
        }
        if (orders_.empty()) {
            return std::nullopt;
        }
        const std::size_t passage = ++passages_[std::string(point)];
        for (const Order& order : orders_) {
            if (order.point == point && order.passage == passage) {
                return order;
            }
        }
        return std::nullopt;
    }

private:
    void parse() {
        orders_.clear();
        std::istringstream lines(text_);
        Order order;
        while (lines >> order.point >> order.passage >> order.action >> order.evidence) {
            orders_.push_back(order);
        }
    }

    const std::string path_ = [] {
        const char* const path = std::getenv("CONCORDAT_FAILPOINTS");
        return std::string(path == nullptr ? "" : path);
    }();
    std::mutex mutex_;
    std::string text_;
    std::vector<Order> orders_;
    std::map<std::string, std::size_t> passages_;
};

bool leave_evidence(const Order& order) {
    // Exclusively: of all processes with this plan, one is hit.
    const int file = ::open(order.evidence.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) {
        return false;
    }
    const std::string line =
        order.point + ' ' + std::to_string(order.passage) + ' ' + std::to_string(::getpid()) + '\n';
    const bool written = ::write(file, line.data(), line.size()) > 0;
    ::close(file);
    return written;
}

void carry_out(const Order& order) {
    if (!leave_evidence(order)) {
        return;
    }
    if (order.action == "kill") {
        ::kill(::getpid(), SIGKILL);
    } else if (order.action == "stop") {
        ::kill(::getpid(), SIGSTOP);
        return;
    }
    for (;;) {
        ::pause();
    }
}

} // namespace

void pass(std::string_view point) {
    static Plan plan;
    if (const auto order = plan.pass(point)) {
        carry_out(*order);
    }
}

void pass(std::string_view family, std::string_view kind) {
    std::string point(family);
    point.replace(point.find('*'), 1, kind);
    pass(std::string_view(point));
}

void pass(std::string_view family, const Kinds& kinds) {
    for (const std::string_view kind : kinds) {
        pass(family, kind);
    }
}

} // namespace concordat::failpoint
