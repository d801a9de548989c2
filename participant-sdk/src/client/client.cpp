#include "participant-sdk/src/client/documents.hpp"
#include "participant-sdk/src/client/exchange.hpp"

#include <concordat/client.hpp>

#include <algorithm>
#include <utility>

namespace concordat {

namespace {

using client::Call;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How long a coordinator holds one answer back. Short enough that a dead node is noticed.
constexpr std::chrono::seconds hold{5};

ClientError invalid(std::string detail, const std::string& xid) {
    return {"invalid-request", std::move(detail), Effect::none, false, 0, xid};
}

std::string transaction_target(const Xid& xid) {
    return "/v1/transactions/" + xid.value();
}

// Is what was waited for reached?
bool reached(const TransactionStatus& status, WaitFor wait_for) {
    switch (wait_for) {
    case WaitFor::begun:
        return true;
    case WaitFor::decision:
        return status.outcome.has_value();
    case WaitFor::completion:
        return status.state == "committed" || status.state == "aborted";
    }
    return true;
}

} // namespace

class Client::Impl {
public:
    explicit Impl(ClientOptions options) : options_(std::move(options)), exchange_(options_) {}

    [[nodiscard]] Clock::time_point deadline() const { return Clock::now() + options_.deadline; }

    ClientResult<TransactionStatus> run(const Call& call, Clock::time_point until) {
        const auto answer = exchange_.run(call, until);
        if (!answer) {
            return std::unexpected(answer.error());
        }
        return client::read_transaction(answer->body);
    }

    ClientResult<TransactionStatus> start(const Submission& submission, client::Mode mode) {
        const Xid xid = submission.xid.value_or(Xid::random());
        for (const BranchOrder& branch : submission.branches) {
            if (auto wrong = client::check_payload(branch.payload); !wrong.empty()) {
                return std::unexpected(invalid(std::move(wrong), xid.value()));
            }
        }
        const WaitFor wait_for =
            mode == client::Mode::interactive ? WaitFor::begun : submission.wait_for;
        Call call{.method = "PUT",
                  .target = transaction_target(xid),
                  .body = client::write_submission(submission, mode),
                  .headers = {},
                  .idempotent = true,
                  .xid = xid.value(),
                  .held = {}};
        if (!submission.traceparent.empty()) {
            call.headers.emplace_back("traceparent", submission.traceparent);
        }
        if (mode == client::Mode::submit) {
            prefer(call, wait_for);
        }
        return finish(call, xid, wait_for);
    }

    // Sends the call, then waits on with long polls for what the caller wants to see.
    ClientResult<TransactionStatus> finish(const Call& call, const Xid& xid, WaitFor wait_for) {
        const auto until = deadline();
        auto status = run(call, until);
        if (!status || reached(*status, wait_for)) {
            return status;
        }
        return poll(xid, std::move(*status), wait_for, until);
    }

    ClientResult<TransactionStatus> poll(const Xid& xid, TransactionStatus status, WaitFor wait_for,
                                         Clock::time_point until) {
        while (!reached(status, wait_for)) {
            const auto left = std::chrono::floor<milliseconds>(until - Clock::now());
            if (left.count() <= 0) {
                ClientError error{"outcome-unknown",
                                  "the deadline passed before the outcome",
                                  Effect::unknown,
                                  true,
                                  0,
                                  xid.value()};
                return std::unexpected(std::move(error));
            }
            const milliseconds held = std::min<milliseconds>(hold, left);
            auto next = run({.method = "GET",
                             .target = transaction_target(xid) +
                                       "?wait_index=" + std::to_string(status.changed_index) +
                                       "&wait=" + client::write_duration(held),
                             .body = {},
                             .headers = {},
                             .idempotent = true,
                             .xid = xid.value(),
                             .held = held},
                            until);
            if (!next) {
                next.error().effect = Effect::unknown; // of the transaction, not of the question
                return next;
            }
            status = std::move(*next);
        }
        return status;
    }

    static void prefer(Call& call, WaitFor wait_for) {
        if (wait_for == WaitFor::begun) {
            call.headers.emplace_back("Prefer", "respond-async");
            return;
        }
        call.headers.emplace_back("Prefer", "wait=" + std::to_string(hold.count()));
        call.held = hold;
    }

    ClientResult<void> register_participant(const ParticipantName& name,
                                            const ParticipantRegistration& where) {
        const auto answer = exchange_.run({.method = "PUT",
                                           .target = "/v1/participants/" + name.value(),
                                           .body = client::write_registration(where),
                                           .headers = {},
                                           .idempotent = true,
                                           .xid = {},
                                           .held = {}},
                                          deadline());
        if (!answer) {
            return std::unexpected(answer.error());
        }
        return {};
    }

private:
    const ClientOptions options_;
    client::Exchange exchange_;
};

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

ClientResult<TransactionStatus> Client::submit(const Submission& submission) {
    return impl_->start(submission, client::Mode::submit);
}

ClientResult<TransactionStatus> Client::begin(const Submission& submission) {
    return impl_->start(submission, client::Mode::interactive);
}

ClientResult<TransactionStatus> Client::enlist(const Xid& xid, const BranchOrder& branch) {
    if (auto wrong = client::check_payload(branch.payload); !wrong.empty()) {
        return std::unexpected(invalid(std::move(wrong), xid.value()));
    }
    // Repeated blindly it could enlist two branches.
    return impl_->run({.method = "POST",
                       .target = transaction_target(xid) + "/branches",
                       .body = client::write_branch(branch),
                       .headers = {},
                       .idempotent = false,
                       .xid = xid.value(),
                       .held = {}},
                      impl_->deadline());
}

ClientResult<TransactionStatus> Client::commit(const Xid& xid, WaitFor wait_for) {
    Call call{.method = "POST",
              .target = transaction_target(xid) + "/commit",
              .body = client::write_wait_for(wait_for),
              .headers = {},
              .idempotent = true,
              .xid = xid.value(),
              .held = {}};
    Impl::prefer(call, wait_for);
    return impl_->finish(call, xid, wait_for);
}

ClientResult<TransactionStatus> Client::abort(const Xid& xid) {
    Call call{.method = "POST",
              .target = transaction_target(xid) + "/abort",
              .body = "{}",
              .headers = {},
              .idempotent = true,
              .xid = xid.value(),
              .held = {}};
    Impl::prefer(call, WaitFor::decision);
    return impl_->finish(call, xid, WaitFor::decision);
}

ClientResult<TransactionStatus> Client::get(const Xid& xid) {
    return impl_->run({.method = "GET",
                       .target = transaction_target(xid),
                       .body = {},
                       .headers = {},
                       .idempotent = true,
                       .xid = xid.value(),
                       .held = {}},
                      impl_->deadline());
}

ClientResult<TransactionStatus> Client::wait(const Xid& xid, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    auto status = get(xid);
    if (!status || status->outcome) {
        return status;
    }
    auto decided = impl_->poll(xid, *status, WaitFor::decision, until);
    if (!decided && decided.error().code == "outcome-unknown") {
        return status;
    }
    return decided;
}

ClientResult<void> Client::register_participant(const ParticipantName& name,
                                                const ParticipantRegistration& where) {
    return impl_->register_participant(name, where);
}

} // namespace concordat
