#include "coordinator/http/call_answers.hpp"

#include <charconv>
#include <string>
#include <system_error>

namespace concordat::http {
namespace {

using Result = core::CallResult;

CallAnswer unknown(std::string detail) {
    return Result::Unknown{std::move(detail)};
}

core::Outcome from_wire(wire::Outcome outcome) noexcept {
    return outcome == wire::Outcome::committed ? core::Outcome::committed : core::Outcome::aborted;
}

core::Vote from_wire(wire::Vote vote) noexcept {
    switch (vote) {
    case wire::Vote::yes:
        return core::Vote::yes;
    case wire::Vote::no:
        return core::Vote::no;
    case wire::Vote::read_only:
        return core::Vote::read_only;
    }
    return core::Vote::no;
}

CallAnswer from_done(core::Operation operation, const wire::BranchAnswer& answer) {
    switch (operation) {
    case core::Operation::prepare:
        if (answer.vote) {
            return Result::Voted{from_wire(*answer.vote), answer.reason};
        }
        if (answer.outcome) {
            return Result::Decided{from_wire(*answer.outcome)};
        }
        return unknown("200 to prepare without a vote");
    case core::Operation::commit_one_phase:
        if (answer.outcome) {
            return Result::Decided{from_wire(*answer.outcome)};
        }
        if (answer.vote && *answer.vote != wire::Vote::yes) {
            return Result::Voted{from_wire(*answer.vote), answer.reason};
        }
        return unknown("200 to commit-one-phase without an outcome");
    case core::Operation::pre_commit:
    case core::Operation::learn:
        if (answer.outcome) {
            return Result::Decided{from_wire(*answer.outcome)};
        }
        return Result::Done{};
    case core::Operation::commit:
        if (answer.outcome == wire::Outcome::aborted) {
            return Result::Refused{"the participant reports the branch as aborted"};
        }
        return Result::Done{};
    case core::Operation::abort:
        if (answer.outcome == wire::Outcome::committed) {
            return Result::Refused{"the participant reports the branch as committed"};
        }
        return Result::Done{};
    }
    return unknown("unknown operation");
}

bool asks_for_outcomes(core::Operation operation) noexcept {
    return operation == core::Operation::pre_commit || operation == core::Operation::learn;
}

bool is_later(std::uint16_t status, bool names_time) noexcept {
    // A 503 without Retry-After may come from a proxy that had already passed the request on.
    return status == 425 || status == 429 || (status == 503 && names_time);
}

} // namespace

std::optional<std::chrono::milliseconds> retry_after(const transport::Headers& headers) {
    const auto text = headers.find("Retry-After");
    if (!text) {
        return std::nullopt;
    }
    std::uint32_t seconds = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), seconds);
    if (error != std::errc{} || end != text->data() + text->size()) {
        return std::nullopt;
    }
    return std::chrono::seconds{seconds};
}

CallAnswer answer_from(core::Operation operation, const wire::BranchAnswer& answer) {
    if (answer.status == 200) {
        return from_done(operation, answer);
    }
    if (answer.status == 409) {
        if (answer.outcome && asks_for_outcomes(operation)) {
            return Result::Decided{from_wire(*answer.outcome)};
        }
        return Result::Refused{answer.reason};
    }
    if (is_later(answer.status, answer.retry_after.has_value())) {
        Result::Later later;
        if (answer.retry_after) {
            later.retry_after = *answer.retry_after;
        }
        return later;
    }
    return unknown("status " + std::to_string(answer.status) +
                   (answer.reason.empty() ? "" : ": " + answer.reason));
}

CallAnswer answer_from(core::Operation operation, const transport::Response& response) {
    const auto status = static_cast<std::uint16_t>(response.status);
    const auto told = retry_after(response.headers);
    auto answer = wire::decode_answer(status, response.body);
    if (!answer) {
        if (is_later(status, told.has_value())) {
            Result::Later later;
            later.retry_after = told;
            return later;
        }
        if (status == 200 || status == 409) {
            return unknown("status " + std::to_string(status) + " with a body that is no answer: " +
                           answer.error().pointer + " " + answer.error().detail);
        }
        return unknown("status " + std::to_string(status));
    }
    if (!answer->retry_after) {
        answer->retry_after = told;
    }
    return answer_from(operation, *answer);
}

std::vector<CallAnswer> answers_from_batch(const std::vector<core::Operation>& operations,
                                           const transport::Response& response) {
    std::vector<CallAnswer> out;
    out.reserve(operations.size());
    if (response.status == 200) {
        const auto answers = wire::decode_answer_batch(response.body);
        const bool complete = answers && answers->size() == operations.size();
        for (std::size_t i = 0; i < operations.size(); ++i) {
            out.push_back(complete ? answer_from(operations[i], (*answers)[i])
                                   : unknown(answers ? "a batch with the wrong number of answers"
                                                     : "a batch whose body is no answer"));
        }
        return out;
    }
    // The batch as a whole was put off or failed; a refusal can only be told per operation.
    const auto told = retry_after(response.headers);
    for (std::size_t i = 0; i < operations.size(); ++i) {
        if (is_later(static_cast<std::uint16_t>(response.status), told.has_value())) {
            Result::Later later;
            later.retry_after = told;
            out.emplace_back(later);
        } else {
            out.push_back(unknown("status " + std::to_string(response.status) + " to a batch"));
        }
    }
    return out;
}

} // namespace concordat::http
