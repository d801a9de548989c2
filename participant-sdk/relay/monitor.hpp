// Looks at the tables beside the pipeline: parked keys, backlog, and what an operator asks for.
//
// What: one thread with one connection. Every second it reads the parked keys and hands them to the
// engine; every few seconds it measures the backlog; in between it runs the operator's requests.
// Why apart from the engine: these statements may be slow, and must never delay a record.
//
// Threading: ask() from any thread; the answer comes on the monitor's thread. Limits: at most
// `request_limit` requests wait; one beyond is answered at once. Errors: in the answer.
#pragma once

#include "participant-sdk/relay/database.hpp"
#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/options.hpp"
#include "participant-sdk/relay/telemetry.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace concordat::relay {

struct AdminRequest {
    enum class Kind : std::uint8_t {
        list_parked,
        list_dead,
        list_leases,
        show_dead,     // one dead row, payload included
        replay_parked, // the refused row first
        skip_parked,   // without the refused row, which becomes a dead row
        replay_dead,
        drop_dead, // for ever
    };
    Kind kind;
    std::string topic{}; // replay_parked, skip_parked
    std::string key{};
    std::int64_t id = 0; // *_dead; list_*: after this one
    int limit = 100;     // list_*
    std::string by{};    // who asks for a change and why, as they say: for the log
    std::string reason{};
};

struct AdminAnswer {
    enum class Kind : std::uint8_t { done, not_found, unavailable };
    Kind kind;
    std::string text; // done: a JSON document; otherwise a sentence
};

class Monitor {
public:
    static constexpr std::size_t request_limit = 64;
    using Callback = std::move_only_function<void(AdminAnswer)>;

    Monitor(const Options& options, std::string conninfo, std::vector<std::string> settings,
            Engine& engine, Telemetry& telemetry);
    ~Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    void ask(AdminRequest request, Callback callback);

private:
    void run();
    [[nodiscard]] std::expected<void, DatabaseError> look();
    [[nodiscard]] std::expected<void, DatabaseError> read_parked();
    [[nodiscard]] std::expected<void, DatabaseError> measure();
    [[nodiscard]] std::expected<AdminAnswer, DatabaseError> carry_out(const AdminRequest& request);
    [[nodiscard]] std::expected<AdminAnswer, DatabaseError> list(const AdminRequest& request);
    void measure_rate();
    [[nodiscard]] std::expected<AdminAnswer, DatabaseError> change(const AdminRequest& request);
    void answer(AdminRequest request, Callback callback);

    const Options& options_;
    const std::string conninfo_;
    const std::vector<std::string> settings_;
    Engine& engine_;
    Telemetry& telemetry_;
    std::optional<Connection> connection_;
    std::chrono::steady_clock::time_point next_measure_{};
    std::chrono::steady_clock::time_point rate_since_{};
    std::uint64_t rate_base_ = 0;

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::pair<AdminRequest, Callback>> requests_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace concordat::relay
