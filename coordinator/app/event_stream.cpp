#include "coordinator/app/event_stream.hpp"

#include <fmt/format.h>

#include <optional>

namespace concordat::app {

namespace {

/// Xids and participant names need no escaping: their alphabets hold no quote or backslash.
std::optional<std::string> render(core::LogIndex index, const core::Command& command) {
    if (const auto* begin = std::get_if<core::Begin>(&command)) {
        return fmt::format(R"({{"event":"begun","xid":"{}","log_index":{},"branches":{}}})",
                           begin->xid.value(), index.value(), begin->branches.size());
    }
    if (const auto* precommit = std::get_if<core::Precommit>(&command)) {
        return fmt::format(R"({{"event":"precommitted","xid":"{}","log_index":{}}})",
                           precommit->xid.value(), index.value());
    }
    if (const auto* decide = std::get_if<core::Decide>(&command)) {
        return fmt::format(R"({{"event":"decided","xid":"{}","log_index":{},"outcome":"{}"}})",
                           decide->xid.value(), index.value(),
                           decide->outcome == core::Outcome::committed ? "committed" : "aborted");
    }
    if (const auto* end = std::get_if<core::End>(&command)) {
        return fmt::format(R"({{"event":"finished","xid":"{}","log_index":{}}})", end->xid.value(),
                           index.value());
    }
    return std::nullopt;
}

} // namespace

std::uint64_t EventStream::subscribe(Sink sink) {
    const std::lock_guard lock(mutex_);
    const auto id = next_id_++;
    sinks_.emplace(id, std::move(sink));
    count_.store(sinks_.size());
    return id;
}

void EventStream::unsubscribe(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    sinks_.erase(id);
    count_.store(sinks_.size());
}

void EventStream::publish(core::LogIndex index, const core::Command& command) {
    const auto text = render(index, command);
    if (!text) {
        return;
    }
    const std::lock_guard lock(mutex_);
    for (const auto& [id, sink] : sinks_) {
        sink(*text);
    }
}

} // namespace concordat::app
