// Topics of which Kafka acknowledges nothing: each is tried with one row, so that the others go on.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace concordat::relay {

// A topic whose partitions cannot be written to would fill the window with its rows, and all others
// would wait for it. It is tried with one row; its other rows are held until that is acknowledged.
// True: there is a new one, whose rows must be given up. While no broker answers, no topic is to
// blame.
bool Engine::watch_topics() {
    if (!topics_->cluster_answers()) {
        return false;
    }
    const auto now = Clock::now();
    bool found = false;
    for (auto& [name, topic] : known_topics_) {
        const auto silent = now - topic.last_progress;
        if (topic.stalled || topic.at_kafka == 0 || silent < options_.kafka.stall_timeout) {
            continue;
        }
        const std::string text = fmt::format(
            "Kafka has acknowledged nothing for {} ms: look for partitions without a leader, too "
            "few in-sync replicas; one row tries the topic, its others are held",
            std::chrono::duration_cast<std::chrono::milliseconds>(silent).count());
        telemetry_.set_trouble("topic " + name, text);
        log_event(Severity::warning, "topic_stalled",
                  {{"topic", topic.kafka_topic}, {"rows", topic.at_kafka}, {"message", text}});
        set_stalled(topic, true);
        found = true;
    }
    return found;
}

void Engine::set_stalled(Topic& topic, bool stalled) {
    if (topic.stalled == stalled) {
        return;
    }
    topic.stalled = stalled;
    on_trial_ = stalled ? on_trial_ + topic.at_kafka : on_trial_ - topic.at_kafka;
}

// A new producer has nothing on the way: the first row of each is to try it again.
void Engine::retry_stalled_topics() {
    for (const auto& [name, topic] : known_topics_) {
        if (!topic.stalled) {
            continue;
        }
        if (const auto lowest = holds_.release_topic(name)) {
            lowest_dropped_ = lowest_dropped_ == 0 ? *lowest : std::min(lowest_dropped_, *lowest);
        }
    }
}

void Engine::end_stall(const std::string& name, Topic& topic) {
    set_stalled(topic, false);
    telemetry_.set_trouble("topic " + name, "");
    log_event(Severity::info, "topic_stall_over", {{"topic", topic.kafka_topic}});
    if (const auto lowest = holds_.release_topic(name)) {
        rewind(*lowest);
    }
}

// Everything there is was read, and nothing is on its way but rows that try a stalled topic: what
// was waited for beside them was taken away by hand, or belongs to another relay now.
void Engine::forget_what_is_gone() {
    if (known_.empty()) {
        clear_silence();
    }
    for (auto& [name, topic] : known_topics_) {
        if (topic.stalled && topic.at_kafka == 0) {
            end_stall(name, topic);
        }
    }
}

// Once the first of them was made anew, each is in a batch of its own.
std::vector<const Row*> Engine::rows_on_trial() const {
    std::vector<const Row*> out;
    if (on_trial_ == 0) {
        return out;
    }
    for (const auto& batch : batches_) {
        const Row& row = batch->rows.front();
        if (row.state == Row::State::sent && row.topic->stalled) {
            out.push_back(&row);
        }
    }
    return out;
}

// Their rows stay in the outbox for a reason that is known.
std::vector<std::string> Engine::waiting_topics() const {
    std::vector<std::string> out = holds_.held_topics();
    for (const auto& [name, topic] : known_topics_) {
        if (topic.stalled) {
            out.push_back(name);
        }
    }
    return out;
}

std::size_t Engine::awaited() const {
    return producer_->outstanding() - on_trial_;
}

// It may stay at Kafka for hours, and must not keep the batch in memory.
void Engine::put_alone(Batch& batch, Row& row) {
    std::unique_ptr<Batch> alone = batch.row_alone(row);
    bytes_in_memory_ += alone->bytes;
    ready_.push_front(alone.get());
    batches_.push_back(std::move(alone));
    ++batch.next;
    finish_row(row);
}

} // namespace concordat::relay
