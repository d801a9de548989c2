#pragma once

// One logical request to a cluster of coordinators: several attempts at several nodes, one result.
//
// Threading: any thread; blocks the caller up to the deadline. Errors: ClientError. An attempt that
// may have had an effect is repeated only when the request says that it is idempotent; once one
// may have had an effect, no later failure is reported as having none.

#include <concordat/client.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace concordat::client {

struct Call {
    std::string method = "GET";
    std::string target;
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;
    bool idempotent = true;
    std::string xid; ///< for the error
    /// How long the coordinator was asked to hold the answer back.
    std::chrono::milliseconds held{0};
};

struct Answer {
    int status = 0;
    std::string body;
};

class Exchange {
public:
    explicit Exchange(const ClientOptions& options);
    ~Exchange();
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    /// A value has a status of 2xx.
    [[nodiscard]] ClientResult<Answer> run(const Call& call,
                                           std::chrono::steady_clock::time_point deadline);

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace concordat::client
