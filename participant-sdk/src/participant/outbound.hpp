#pragma once

// How recovery talks to coordinators and peers: several HTTP exchanges at once, each with an end.
// An interface, so that recovery is tested without sockets.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace concordat::participant {

struct OutboundCall {
    std::string base_url;
    std::string method;
    std::string target; ///< below the path of base_url
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
};

struct OutboundReply {
    int status = 0;
    std::string body;
};

class Outbound {
public:
    virtual ~Outbound() = default;
    /// One reply per call, in order; nothing where none came within the time-out. Blocks.
    [[nodiscard]] virtual std::vector<std::optional<OutboundReply>>
    exchange(const std::vector<OutboundCall>& calls, std::chrono::milliseconds timeout) = 0;
};

/// Over HTTP/1.1, with one thread and pooled connections of its own.
[[nodiscard]] std::unique_ptr<Outbound> make_http_outbound();

} // namespace concordat::participant
