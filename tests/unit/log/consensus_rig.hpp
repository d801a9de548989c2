#pragma once

// One Consensus object whose disk and peers are made up by the test.

#include "coordinator/log/consensus.hpp"

#include <memory>
#include <string>
#include <vector>

namespace concordat::log::test {

inline std::vector<VotingMember> three_members() {
    return {{1, "a:1"}, {2, "b:2"}, {3, "c:3"}};
}

inline core::SharedBytes bytes_of(std::string text) {
    return std::make_shared<const std::string>(std::move(text));
}

inline Entry command(Index index, Term term, std::string text = "12345678") {
    return {index, term, EntryType::command, bytes_of(std::move(text))};
}

template <class Kind>
std::vector<Kind> of_kind(const Obligations& obligations) {
    std::vector<Kind> found;
    for (const Obligation& obligation : obligations) {
        if (const auto* one = std::get_if<Kind>(&obligation)) {
            found.push_back(*one);
        }
    }
    return found;
}

template <class Body>
std::vector<Body> sent(const Obligations& obligations) {
    std::vector<Body> found;
    for (const Send& send : of_kind<Send>(obligations)) {
        if (const auto* body = std::get_if<Body>(&send.message.body)) {
            found.push_back(*body);
        }
    }
    return found;
}

/// Node 1 of three, with the messages of the other two made up by the test.
class Rig {
public:
    explicit Rig(PersistedState state = bootstrap_state(three_members())) : engine_(options()) {
        last = engine_.start(0, std::move(state));
    }

    Obligations receive(Peer from, auto body) {
        return engine_.receive(time_, {from, 1, std::move(body)});
    }
    /// Wins an election in the next term.
    Obligations win() {
        time_ = engine_.next_timeout();
        Obligations before = engine_.timeout(time_);
        const Term term = engine_.hard_state().term + 1;
        pre_vote = std::move(before);
        vote = receive(2, RequestVoteResult{term, true, true});
        return receive(2, RequestVoteResult{term, true, false});
    }
    Obligations append(Term term, Index previous, Term previous_term, std::vector<Entry> entries,
                       Index commit = 0) {
        return receive(2, AppendEntries{term, previous, previous_term, commit, std::move(entries)});
    }
    /// The disk has done what the obligations ask for.
    Obligations persist(const Obligations& obligations) {
        Obligations out;
        for (const PersistEntries& persist : of_kind<PersistEntries>(obligations)) {
            out =
                engine_.entries_persisted(time_, persist.generation, persist.entries.back().index);
        }
        return out;
    }
    Consensus& engine() { return engine_; }
    Milliseconds time() const { return time_; }
    void advance(Milliseconds by) { time_ += by; }

    Obligations last;
    Obligations pre_vote;
    Obligations vote;

private:
    static ConsensusOptions options() {
        ConsensusOptions options;
        options.id = 1;
        options.seed = 42;
        return options;
    }
    Consensus engine_;
    Milliseconds time_ = 1;
};

} // namespace concordat::log::test
