// What travels between nodes and participants, and what becomes of it on the way.

#include "tests/simulation/world.hpp"

#include <memory>
#include <utility>

namespace concordat::simulation {
namespace {

constexpr Milliseconds long_delay = 30;

} // namespace

bool World::is_lost() {
    const bool lost = timeline_.chance(weather_.loss_permille);
    if (lost) {
        timeline_.count(Fault::loss);
    }
    return lost;
}

Milliseconds World::delay() {
    const Milliseconds wait = timeline_.between(1, weather_.max_delay);
    if (wait > long_delay) {
        timeline_.count(Fault::delay);
    }
    return wait;
}

void World::send(log::Message message) {
    if (message.to == 0 || message.to > nodes_.size() || cuts_[{message.from, message.to}] ||
        is_lost()) {
        return;
    }
    int copies = 1;
    if (timeline_.chance(weather_.duplication_permille)) {
        timeline_.count(Fault::duplication);
        copies = 2;
    }
    for (int i = 0; i < copies; ++i) {
        const Milliseconds wait = delay();
        Milliseconds& last = last_arrival_[{message.from, message.to}];
        if (timeline_.now() + wait < last) {
            timeline_.count(Fault::reordering);
        }
        last = std::max(last, timeline_.now() + wait);
        timeline_.after(wait, [this, message] { node(message.to).receive(message); });
    }
}

void World::call(log::Peer from, core::ParticipantCall call) {
    ledger_.calling(call);
    const auto life = node(from).life();
    const auto answer = [this, from, life](Milliseconds wait, core::CallResult result) {
        timeline_.after(wait, [this, from, life, result = std::move(result)] {
            if (node(from).life() == life) {
                node(from).call_result(result);
            }
        });
    };
    const auto timeout = static_cast<Milliseconds>(
        std::chrono::ceil<std::chrono::milliseconds>(call.timeout).count());
    if (is_lost()) {
        answer(timeout, {call.key, core::CallResult::Unknown{"lost"}});
        return;
    }
    // E.g. a proxy that tries again. None may do so with a one-phase commit: while one copy is on
    // its way, "later" to the other would be taken for "nothing was done".
    if (call.key.operation != core::Operation::commit_one_phase &&
        timeline_.chance(weather_.duplication_permille)) {
        timeline_.count(Fault::duplication);
        timeline_.after(delay() * 3, [this, call] {
            participants_.at(call.participant.value())->serve(call, [](const core::CallResult&) {});
        });
    }
    // Whatever comes first, the answer or the end of patience.
    const auto is_open = std::make_shared<bool>(true);
    timeline_.after(timeout, [is_open, answer, key = call.key] {
        if (std::exchange(*is_open, false)) {
            answer(0, {key, core::CallResult::Unknown{"no answer in time"}});
        }
    });
    timeline_.after(delay(), [this, call = std::move(call), is_open, answer] {
        participants_.at(call.participant.value())
            ->serve(call, [this, is_open, answer](core::CallResult result) {
                if (!is_lost() && std::exchange(*is_open, false)) {
                    answer(delay(), std::move(result));
                }
            });
    });
}

void World::send(const std::string& to, std::function<void(Participant&)> action) {
    if (is_lost()) {
        return;
    }
    timeline_.after(delay(), [this, to, action = std::move(action)] {
        Participant& participant = *participants_.at(to);
        if (participant.is_up()) {
            action(participant);
        }
    });
}

} // namespace concordat::simulation
