#pragma once

// Carries out one operation of the participant contract on a Resource and turns the result into the
// contract's answer. Knows neither HTTP nor threads.
//
// Threading: any thread. Errors: they are answers.

#include "participant-sdk/src/participant/counters.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <concordat/participant.hpp>
#include <concordat/resource.hpp>

#include <functional>
#include <string_view>

namespace concordat::participant {

class Delivery {
public:
    using AlarmSink = std::function<void(const Alarm&)>;

    Delivery(Resource& resource, Counters& counters, AlarmSink alarm);

    [[nodiscard]] wire::BranchAnswer run(wire::BranchRequest&& request);
    [[nodiscard]] wire::BallotAnswer run(const wire::BallotRequest& request);
    /// Nothing when the capability is wrong: peers get no answer without it.
    [[nodiscard]] std::expected<wire::BranchStatus, wire::BranchAnswer>
    status(const BranchKey& key, std::string_view capability);

    /// Ends a branch as its transaction was decided. Used by recovery as well.
    [[nodiscard]] std::expected<void, NotDone> finish(const BranchKey& key, Outcome outcome);

private:
    [[nodiscard]] wire::BranchAnswer prepare(const PrepareOrder& order);
    [[nodiscard]] wire::BranchAnswer commit_one_phase(const PrepareOrder& order);
    [[nodiscard]] wire::BranchAnswer pre_commit(const BranchKey& key);
    [[nodiscard]] wire::BranchAnswer learn(const BranchKey& key);
    [[nodiscard]] wire::BranchAnswer answer_of(const NotDone& failure);
    void alarm(Alarm::Kind kind, std::string detail);

    Resource& resource_;
    Counters& counters_;
    AlarmSink alarm_;
};

/// Compares secrets in a time that does not depend on where they differ.
[[nodiscard]] bool equal_secrets(std::string_view left, std::string_view right) noexcept;

} // namespace concordat::participant
