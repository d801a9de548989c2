// What travels between nodes and participants, and what becomes of it on the way.

#include "tests/simulation/world.hpp"

namespace concordat::simulation {

void World::send(log::Message message) {
    if (cuts_[{message.from, message.to}] || is_lost()) {
        return;
    }
    const int copies = timeline_.chance(weather_.duplication_permille) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        timeline_.after(delay(), [this, message] { node(message.to).receive(message); });
    }
}

void World::call(log::Peer from, core::ParticipantCall call) {
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
    if (timeline_.chance(weather_.duplication_permille)) { // e.g. a proxy that tries again
        timeline_.after(delay() * 3, [this, call] {
            Participant& participant = *participants_.at(call.participant.value());
            if (participant.is_up()) {
                static_cast<void>(participant.serve(call));
            }
        });
    }
    timeline_.after(delay(), [this, call = std::move(call), answer, timeout] {
        Participant& participant = *participants_.at(call.participant.value());
        if (!participant.is_up()) {
            answer(delay(), {call.key, core::CallResult::Unknown{"connection refused"}});
        } else if (faults_on_ && timeline_.chance(20)) {
            answer(delay(), {call.key, core::CallResult::Later{std::chrono::milliseconds{20}}});
        } else {
            core::CallResult result = participant.serve(call);
            if (is_lost()) {
                answer(timeout, {call.key, core::CallResult::Unknown{"answer lost"}});
            } else {
                answer(delay(), std::move(result));
            }
        }
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
