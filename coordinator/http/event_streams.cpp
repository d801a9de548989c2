#include "coordinator/http/event_streams.hpp"

#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/timer.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace concordat::http {

/// One subscriber. The mutex serialises the core thread, the timer and stop().
struct EventStreams::Stream : std::enable_shared_from_this<Stream> {
    Stream(transport::IoThreads& io_threads, std::size_t io_thread)
        : threads(io_threads), index(io_thread), timer(io_threads, io_thread) {}

    /// False once the stream has ended.
    bool write(const std::string& bytes) {
        const std::lock_guard lock(mutex);
        if (ended) {
            return false;
        }
        if (writer.write(bytes) != transport::StreamWriter::Result::accepted) {
            ended = true;
            writer.close();
            return false;
        }
        return true;
    }
    void end() {
        const std::lock_guard lock(mutex);
        ended = true;
        writer.close();
    }

    transport::IoThreads& threads;
    const std::size_t index;
    transport::Timer timer;
    std::mutex mutex;
    transport::StreamWriter writer;
    std::uint64_t subscription = 0;
    bool ended = false;
};

struct EventStreams::Registry {
    Registry(Gateway& core_gateway, std::size_t limit) : gateway(core_gateway), max(limit) {}

    bool add(const std::shared_ptr<Stream>& stream) {
        const std::lock_guard lock(mutex);
        if (stopped || streams.size() >= max) {
            return false;
        }
        streams.push_back(stream);
        return true;
    }
    /// Never called under a stream's mutex: unsubscribing waits for an event being published.
    void remove(const std::shared_ptr<Stream>& stream) {
        {
            const std::lock_guard lock(mutex);
            if (std::erase(streams, stream) == 0) {
                return;
            }
        }
        gateway.unsubscribe(stream->subscription);
        stream->timer.cancel();
        stream->end();
    }

    Gateway& gateway;
    const std::size_t max;
    std::mutex mutex;
    std::vector<std::shared_ptr<Stream>> streams;
    bool stopped = false;

    /// Repeats until the stream ends; a stream that ended without us noticing is removed here.
    static void keep_alive(const std::weak_ptr<Registry>& weak_registry,
                           const std::weak_ptr<Stream>& weak_stream,
                           std::chrono::milliseconds interval) {
        const auto registry = weak_registry.lock();
        const auto stream = weak_stream.lock();
        if (!registry || !stream) {
            return;
        }
        if (!stream->write(": keep-alive\n\n")) {
            registry->remove(stream);
            return;
        }
        stream->timer.start(interval, [weak_registry, weak_stream, interval] {
            keep_alive(weak_registry, weak_stream, interval);
        });
    }
};

EventStreams::EventStreams(Gateway& gateway, transport::IoThreads& threads, std::size_t max_streams,
                           std::chrono::milliseconds keep_alive)
    : threads_(threads),
      keep_alive_(keep_alive),
      registry_(std::make_shared<Registry>(gateway, max_streams)) {}

EventStreams::~EventStreams() {
    stop();
}

bool EventStreams::open(transport::Responder& responder, std::size_t io_thread) {
    auto stream = std::make_shared<Stream>(threads_, io_thread);
    if (!registry_->add(stream)) {
        return false;
    }
    transport::Response head;
    head.content_type = "text/event-stream";
    head.headers.add("Cache-Control", "no-store");
    const std::weak_ptr<Registry> weak_registry = registry_;
    const std::weak_ptr<Stream> weak_stream = stream;
    stream->writer = responder.stream(std::move(head));
    // Neither the transport's callback nor the publication may unsubscribe by itself.
    const auto remove_soon = [weak_registry, weak_stream] {
        const auto target = weak_stream.lock();
        if (!target) {
            return;
        }
        target->threads.post(target->index, [weak_registry, weak_stream] {
            const auto registry = weak_registry.lock();
            const auto ended = weak_stream.lock();
            if (registry && ended) {
                registry->remove(ended);
            }
        });
    };
    stream->writer.on_closed(remove_soon);
    stream->subscription =
        registry_->gateway.subscribe([weak_stream, remove_soon](const std::string& event_json) {
            const auto target = weak_stream.lock();
            if (target && !target->write("data: " + event_json + "\n\n")) {
                remove_soon();
            }
        });
    Registry::keep_alive(weak_registry, weak_stream, keep_alive_);
    return true;
}

void EventStreams::stop() {
    std::vector<std::shared_ptr<Stream>> streams;
    {
        const std::lock_guard lock(registry_->mutex);
        registry_->stopped = true;
        streams = registry_->streams;
    }
    for (const auto& stream : streams) {
        registry_->remove(stream);
    }
}

} // namespace concordat::http
