#include "tests/bench/load_generator/participants.hpp"

#include "participant-sdk/src/wire/participant_contract.hpp"

#include <string_view>
#include <utility>
#include <vector>

namespace concordat::bench {

namespace {

constexpr std::string_view single_prefix = "/v1/branches/";
constexpr std::string_view batch_target = "/v1/branches:batch";

wire::BranchAnswer answer_to(wire::Operation operation) {
    wire::BranchAnswer answer;
    if (operation == wire::Operation::prepare) {
        answer.vote = wire::Vote::yes;
    } else if (operation == wire::Operation::commit_one_phase) {
        answer.outcome = wire::Outcome::committed;
    }
    return answer;
}

transport::Response refuse(std::string detail) {
    transport::Response response;
    response.status = 400;
    response.content_type = "text/plain";
    response.body = std::move(detail);
    return response;
}

} // namespace

NoopParticipants::NoopParticipants(transport::IoThreads& threads, bool batch)
    : batch_(batch),
      prepared_(wire::encode(answer_to(wire::Operation::prepare))),
      done_(wire::encode(answer_to(wire::Operation::commit))) {
    for (auto& server : servers_) {
        transport::ServerOptions options;
        options.body_limit_bytes = std::size_t{64} << 20; // a batch carries many payloads
        options.idle_timeout = std::chrono::minutes{10};
        server = std::make_unique<transport::Server>(
            threads, options, [this](transport::Request&& request, transport::Responder respond) {
                answer(std::move(request), std::move(respond));
            });
    }
}

NoopParticipants::~NoopParticipants() {
    for (auto& server : servers_) {
        server->stop();
    }
}

std::expected<void, std::string> NoopParticipants::start() {
    for (auto& server : servers_) {
        if (auto started = server->start(); !started) {
            return started;
        }
    }
    return {};
}

std::string NoopParticipants::base_url(std::size_t index) const {
    return "http://127.0.0.1:" + std::to_string(servers_.at(index)->port());
}

ParticipantCounts NoopParticipants::counts() const noexcept {
    return {.requests = requests_.load(std::memory_order_relaxed),
            .operations = operations_.load(std::memory_order_relaxed)};
}

void NoopParticipants::answer(transport::Request&& request, transport::Responder respond) {
    requests_.fetch_add(1, std::memory_order_relaxed);
    transport::Response response;
    if (batch_) {
        response.headers.add("Concordat-Batch", "1");
    }
    const std::string_view path = request.path();
    if (path == batch_target) {
        const auto operations = wire::decode_request_batch(request.body);
        if (!operations) {
            respond(refuse(operations.error().pointer + ": " + operations.error().detail));
            return;
        }
        std::vector<wire::BranchAnswer> answers;
        answers.reserve(operations->size());
        for (const wire::BranchRequest& operation : *operations) {
            answers.push_back(answer_to(operation.operation));
        }
        operations_.fetch_add(answers.size(), std::memory_order_relaxed);
        response.body = wire::encode_batch(answers);
        respond(std::move(response));
        return;
    }
    const auto operation = wire::operation_from(path.substr(path.rfind('/') + 1));
    if (!path.starts_with(single_prefix) || !operation) {
        respond(refuse("not an operation of the participant contract"));
        return;
    }
    operations_.fetch_add(1, std::memory_order_relaxed);
    switch (*operation) {
    case wire::Operation::prepare:
        response.body = prepared_;
        break;
    case wire::Operation::commit_one_phase:
        response.body = wire::encode(answer_to(*operation));
        break;
    case wire::Operation::pre_commit:
    case wire::Operation::commit:
    case wire::Operation::abort:
    case wire::Operation::learn:
        response.body = done_;
        break;
    }
    respond(std::move(response));
}

} // namespace concordat::bench
