#include "participant-sdk/relay/holds.hpp"

#include <algorithm>

namespace concordat::relay {

std::string Holds::name(std::string_view topic, std::string_view key) {
    std::string out(topic);
    out.push_back('\0'); // no topic holds one
    out += key;
    return out;
}

bool Holds::holds(std::string_view topic, const std::optional<std::string_view>& key,
                  std::int64_t row_id) {
    if (!topics_.empty()) {
        if (const auto held = topics_.find(topic); held != topics_.end()) {
            held->second = std::min(held->second, row_id);
            return true;
        }
    }
    if (parked_.empty() || !key) {
        return false;
    }
    const auto held = parked_.find(name(topic, *key));
    if (held == parked_.end()) {
        return false;
    }
    held->second = std::min(held->second, row_id);
    return true;
}

void Holds::park(const ParkedKey& key) {
    if (parked_.size() >= parked_key_limit) {
        hold_topic(key.topic, key.row_id);
        return;
    }
    const auto [entry, added] = parked_.try_emplace(name(key.topic, key.key), key.row_id);
    if (!added) {
        entry->second = std::min(entry->second, key.row_id);
    }
}

std::optional<std::int64_t> Holds::replace_parked(const std::vector<ParkedKey>& keys) {
    std::map<std::string, std::int64_t, std::less<>> next;
    for (const ParkedKey& key : keys) {
        const std::string entry = name(key.topic, key.key);
        const auto known = parked_.find(entry);
        next.emplace(entry,
                     known == parked_.end() ? key.row_id : std::min(known->second, key.row_id));
    }
    std::optional<std::int64_t> lowest;
    for (const auto& [entry, row_id] : parked_) {
        if (!next.contains(entry)) {
            lowest = std::min(lowest.value_or(row_id), row_id);
        }
    }
    parked_ = std::move(next);
    return lowest;
}

void Holds::hold_topic(const std::string& topic, std::int64_t row_id) {
    const auto [entry, added] = topics_.try_emplace(topic, row_id);
    if (!added) {
        entry->second = std::min(entry->second, row_id);
    }
}

std::optional<std::int64_t> Holds::release_topic(const std::string& topic) {
    const auto held = topics_.find(topic);
    if (held == topics_.end()) {
        return std::nullopt;
    }
    const std::int64_t lowest = held->second;
    topics_.erase(held);
    return lowest;
}

std::vector<std::string> Holds::held_topics() const {
    std::vector<std::string> out;
    for (const auto& [topic, row_id] : topics_) {
        out.push_back(topic);
    }
    return out;
}

} // namespace concordat::relay
