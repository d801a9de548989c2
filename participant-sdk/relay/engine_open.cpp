// Partitions in which the producer has no acknowledgement yet: one row opens each, the others wait.

#include "participant-sdk/relay/engine.hpp"
#include "participant-sdk/relay/event_log.hpp"

#include <algorithm>
#include <utility>

namespace concordat::relay {

void Engine::set_aside(Row& row, Topic& topic) {
    ++row.batch->next;
    row.state = Row::State::set_aside;
    row.topic = &topic;
    ++topic.set_aside;
    topic.partitions.waits(row.partition);
    set_aside_.push_back(&row);
}

// Before the rows that were read later. False: nothing more can be sent now.
bool Engine::feed_set_aside() {
    if (!look_at_set_aside_) {
        return true;
    }
    for (auto at = set_aside_.begin(); at != set_aside_.end();) {
        Row& row = **at;
        if (row.topic->partitions.opening(row.partition) && may_publish(row.bucket)) {
            ++at;
        } else if (feed_row(*row.batch, row)) {
            at = set_aside_.erase(at);
        } else {
            return false; // the list is as it was, or a reset has emptied it
        }
    }
    look_at_set_aside_ = false;
    return true;
}

// Of topics that may have grown.
void Engine::count_partitions() {
    for (auto& [name, topic] : known_topics_) {
        if (!topic.ready) {
            continue;
        }
        const TopicState state = topics_->look_up(topic.kafka_topic);
        if (state.kind == TopicState::Kind::ready && state.partitions != topic.partitions.count()) {
            topic.partitions.set_count(state.partitions);
            log_event(Severity::info, "topic_has_grown",
                      {{"topic", topic.kafka_topic}, {"partitions", state.partitions}});
        }
    }
}

// Where an acknowledged row lies.
void Engine::note_partition(Topic& topic, const Row& row, std::int32_t partition) {
    if (topic.partitions.acknowledged(partition, last_progress_)) {
        look_at_set_aside_ = true;
    }
    if (row.partition >= 0 && row.partition != partition) {
        look_at_set_aside_ = true; // it opens nothing where it was expected
        topics_->count_again(topic.kafka_topic);
    }
}

void Engine::drop_set_aside() {
    for (Row* row : std::exchange(set_aside_, {})) {
        lowest_dropped_ = lowest_dropped_ == 0 ? row->id : std::min(lowest_dropped_, row->id);
        drop_row(*row); // the last one may take the batch with it
    }
}

} // namespace concordat::relay
