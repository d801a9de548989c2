#include "participant-sdk/relay/topic_prober.hpp"

#include "participant-sdk/relay/producer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

namespace concordat::relay {
namespace {

constexpr std::chrono::milliseconds ask_again_after{500};
constexpr int answer_timeout_ms = 1000;
constexpr std::chrono::seconds handle_lifetime{3}; // of one that no broker answers

} // namespace

TopicProber::TopicProber(const Options::Kafka& options, std::function<void()> changed)
    : options_(options), changed_(std::move(changed)) {
    thread_ = std::thread([this] { run(); });
}

TopicProber::~TopicProber() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void TopicProber::make_handle() {
    handle_.reset();
    handle_made_ = std::chrono::steady_clock::now();
    auto conf = make_kafka_configuration(options_);
    if (!conf) {
        configuration_error_ = conf.error();
        return;
    }
    std::array<char, 512> reason{};
    handle_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf->get(), reason.data(), reason.size()));
    if (handle_ == nullptr) {
        configuration_error_ = reason.data();
    } else {
        std::ignore = conf->release(); // the handle owns it now
    }
}

TopicState TopicProber::look_up(const std::string& topic) {
    const std::lock_guard lock(mutex_);
    if (const auto found = topics_.find(topic); found != topics_.end()) {
        return found->second;
    }
    if (topics_.size() >= topic_limit) {
        return {.kind = TopicState::Kind::refused, .detail = "too many topics"};
    }
    topics_.emplace(topic, TopicState{});
    asked_for_ = true;
    wake_.notify_all();
    return {};
}

void TopicProber::distrust(const std::string& topic, const std::string& detail) {
    const std::lock_guard lock(mutex_);
    topics_[topic] = {.kind = TopicState::Kind::refused, .detail = detail};
    asked_for_ = true;
    wake_.notify_all();
}

void TopicProber::count_again(const std::string& topic) {
    const std::lock_guard lock(mutex_);
    asked_for_ = true;
    to_count_.insert(topic);
    wake_.notify_all();
}

TopicState TopicProber::ask(const std::string& topic) {
    if (handle_ == nullptr) {
        return {.kind = TopicState::Kind::unknown, .detail = configuration_error_};
    }
    rd_kafka_topic_t* handle = rd_kafka_topic_new(handle_.get(), topic.c_str(), nullptr);
    if (handle == nullptr) {
        return {.kind = TopicState::Kind::refused, .detail = "not a valid topic name"};
    }
    const rd_kafka_metadata_t* metadata = nullptr;
    rd_kafka_poll(handle_.get(), 0);
    const rd_kafka_resp_err_t error =
        rd_kafka_metadata(handle_.get(), 0, handle, &metadata, answer_timeout_ms);
    TopicState state;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        state.detail = rd_kafka_err2str(error);
    } else if (metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
               metadata->topics[0].partition_cnt > 0) {
        state.kind = TopicState::Kind::ready;
        state.partitions = metadata->topics[0].partition_cnt;
    } else {
        const auto reason = metadata->topic_cnt == 1 ? metadata->topics[0].err
                                                     : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        state.detail = rd_kafka_err2str(reason);
        if (classify(reason) == Fault::topic) {
            state.kind = TopicState::Kind::refused;
        }
    }
    if (metadata != nullptr) {
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    return state;
}

void TopicProber::check_cluster() {
    const std::lock_guard lock(mutex_);
    cluster_answers_ = false;
    asked_for_ = true;
    wake_.notify_all();
}

void TopicProber::check_cluster_again() {
    const std::lock_guard lock(mutex_);
    to_check_ = true;
    asked_for_ = true;
    wake_.notify_all();
}

bool TopicProber::ask_cluster() {
    // The password file may have been corrected meanwhile; a handle keeps what it was made with.
    if (std::chrono::steady_clock::now() - handle_made_ > handle_lifetime) {
        make_handle();
    }
    if (handle_ == nullptr) {
        return false;
    }
    // The topics this handle knows, of which it has none: a question that any broker answers.
    const rd_kafka_metadata_t* metadata = nullptr;
    rd_kafka_poll(handle_.get(), 0);
    if (rd_kafka_metadata(handle_.get(), 0, nullptr, &metadata, answer_timeout_ms) !=
        RD_KAFKA_RESP_ERR_NO_ERROR) {
        return false;
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

// True: some state has changed. Unlocked while the cluster is asked.
bool TopicProber::ask_topics(std::unique_lock<std::mutex>& lock) {
    std::vector<std::string> open;
    for (const auto& [topic, state] : topics_) {
        if (state.kind != TopicState::Kind::ready || to_count_.contains(topic)) {
            open.push_back(topic);
        }
    }
    to_count_.clear();
    bool any_change = false;
    for (const std::string& topic : open) {
        if (stopping_) {
            break;
        }
        lock.unlock();
        TopicState state = ask(topic);
        lock.lock();
        TopicState& known = topics_[topic];
        // An answer that is no answer does not undo an earlier one.
        if (state.kind != TopicState::Kind::unknown || known.kind == TopicState::Kind::unknown) {
            any_change =
                any_change || known.kind != state.kind || known.partitions != state.partitions;
            known = std::move(state);
        }
    }
    return any_change;
}

void TopicProber::run() {
    make_handle();
    std::unique_lock lock(mutex_);
    if (handle_ == nullptr) {
        cluster_answers_ = false; // asking for it makes the handle anew
    }
    while (!stopping_) {
        asked_for_ = false;
        bool changed = false;
        if (std::exchange(to_check_, false) || !cluster_answers_) {
            lock.unlock();
            const bool answers = ask_cluster();
            lock.lock();
            changed = answers && !cluster_answers_;
            cluster_answers_ = answers;
        }
        changed = ask_topics(lock) || changed;
        if (changed) {
            changed_();
        }
        const auto stop_waiting = [&] { return stopping_ || asked_for_; };
        const bool open = std::ranges::any_of(topics_, [](const auto& entry) {
            return entry.second.kind != TopicState::Kind::ready;
        });
        if (open || !cluster_answers_) {
            wake_.wait_for(lock, ask_again_after, stop_waiting);
        } else {
            wake_.wait(lock, stop_waiting);
        }
    }
}

} // namespace concordat::relay
