// What is held back although it could be read: parked keys and topics that cannot be written to.
//
// Rows of a held key or topic are dropped from memory when they come by; they stay in the outbox.
// When the hold ends, reading goes back to the lowest row that was dropped on its account, so they
// are sent in order.
//
// Threading: one owner. Limits: `parked_key_limit` keys; a relay that meets more holds the topic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::relay {

struct ParkedKey {
    std::string topic;
    std::string key;
    std::int64_t row_id;
};

class Holds {
public:
    static constexpr std::size_t parked_key_limit = 100'000;

    // True: the row has to be dropped; it is remembered.
    [[nodiscard]] bool holds(std::string_view topic, const std::optional<std::string_view>& key,
                             std::int64_t row_id);
    void park(const ParkedKey& key);
    // Takes over the table's content. The result is the lowest id to go back to, if a hold ended.
    [[nodiscard]] std::optional<std::int64_t> replace_parked(const std::vector<ParkedKey>& keys);

    void hold_topic(const std::string& topic, std::int64_t row_id);
    [[nodiscard]] std::optional<std::int64_t> release_topic(const std::string& topic);
    [[nodiscard]] std::vector<std::string> held_topics() const;
    [[nodiscard]] std::size_t parked_keys() const noexcept { return parked_.size(); }

private:
    [[nodiscard]] static std::string name(std::string_view topic, std::string_view key);

    std::map<std::string, std::int64_t, std::less<>> topics_; // → lowest id dropped
    std::map<std::string, std::int64_t, std::less<>> parked_;
};

} // namespace concordat::relay
