// Knows which Kafka topics can be written to.
//
// What: asks the cluster about a topic before the first record is sent to it, and again and again
// about those that are missing.
// Why: librdkafka would hold records of a missing topic back, fail them, and let later ones pass
// when the topic appears in between.
//
// Threading: look_up(), distrust(), count_again() from any thread; an own thread, joined by the
// destructor, talks to the cluster. Ownership: refers to the options; bounded by `topic_limit`,
// topics beyond it are `refused`. Errors: a state, with words for the operator.
#pragma once

#include "participant-sdk/relay/options.hpp"

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>

namespace concordat::relay {

struct TopicState {
    enum class Kind : std::uint8_t {
        unknown, // not answered yet, or the cluster is away
        ready,
        refused, // missing, forbidden, invalid
    };
    Kind kind = Kind::unknown;
    std::string detail;
    std::int32_t partitions = 0; // of one that is ready
};

class TopicProber {
public:
    static constexpr std::size_t topic_limit = 10'000;

    // `changed` is called on the prober's thread after a state has changed; it
    // must not call back.
    TopicProber(const Options::Kafka& options, std::function<void()> changed);
    ~TopicProber();
    TopicProber(const TopicProber&) = delete;
    TopicProber& operator=(const TopicProber&) = delete;

    // The state as known; the first look-up of a topic starts the asking.
    [[nodiscard]] TopicState look_up(const std::string& topic);
    // What was believed turned out wrong: ask again, and refuse the topic until the answer.
    void distrust(const std::string& topic, const std::string& detail);
    // It has more partitions than was believed: asks again; ready as before until the answer.
    void count_again(const std::string& topic);
    // Starts asking whether any broker answers; the answer is in cluster_answers(), no until then.
    void check_cluster();
    // The same, and the latest answer counts until the next one.
    void check_cluster_again();
    [[nodiscard]] bool cluster_answers() const noexcept { return cluster_answers_; }

private:
    struct Destroy {
        void operator()(rd_kafka_t* handle) const noexcept { rd_kafka_destroy(handle); }
    };
    void run();
    void make_handle();
    [[nodiscard]] bool ask_topics(std::unique_lock<std::mutex>& lock);
    [[nodiscard]] bool ask_cluster();
    [[nodiscard]] TopicState ask(const std::string& topic);

    const Options::Kafka& options_;
    std::function<void()> changed_;
    // Of the prober's thread.
    std::unique_ptr<rd_kafka_t, Destroy> handle_;
    std::string configuration_error_;
    std::chrono::steady_clock::time_point handle_made_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::unordered_map<std::string, TopicState> topics_;
    std::unordered_set<std::string> to_count_; // ready, but to be asked about
    std::atomic<bool> cluster_answers_{true};
    bool to_check_ = false; // whether the cluster answers, although it did
    bool asked_for_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace concordat::relay
