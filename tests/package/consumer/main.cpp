// Uses one thing of every component, so that headers compile and libraries link, and serves one
// request.

#include <concordat/client.hpp>
#include <concordat/inbox.hpp>
#include <concordat/outbox.hpp>
#include <concordat/participant.hpp>
#include <concordat/postgres.hpp>

#include <cstdio>
#include <memory>

namespace {

// A participant that holds nothing, and therefore always votes read-only.
class NoResource final : public concordat::Resource {
public:
    std::expected<concordat::VoteCast, concordat::NotDone>
    prepare(const concordat::PrepareOrder&) override {
        return concordat::vote_read_only();
    }
    std::expected<void, concordat::NotDone> commit(const concordat::BranchKey&) override {
        return {};
    }
    std::expected<void, concordat::NotDone> abort(const concordat::BranchKey&) override {
        return {};
    }
    std::expected<concordat::OnePhaseResult, concordat::NotDone>
    commit_one_phase(const concordat::PrepareOrder&) override {
        return concordat::OnePhaseResult{concordat::Outcome::committed, {}};
    }
    std::expected<concordat::AcceptorState, concordat::NotDone>
    change_acceptor(const concordat::BranchKey&, const AcceptorRule& rule) override {
        return rule({});
    }
    std::expected<std::vector<concordat::InDoubtBranch>, concordat::NotDone>
    in_doubt(std::chrono::milliseconds, std::size_t) override {
        return std::vector<concordat::InDoubtBranch>{};
    }
};

bool fail(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    return false;
}

bool participant_serves() {
    concordat::Participant participant(std::make_shared<NoResource>(), {});
    concordat::ParticipantServer server(participant, {});
    if (const auto started = server.start(); !started) {
        return fail(started.error().c_str());
    }
    return server.port() != 0 || fail("no port");
}

bool client_reports_an_unreachable_coordinator() {
    concordat::ClientOptions options;
    options.coordinators = {"http://127.0.0.1:1"};
    options.deadline = std::chrono::milliseconds{200};
    concordat::Client client(std::move(options));
    concordat::Submission submission;
    submission.branches.push_back({"order", "{}"});
    return !client.submit(submission) || fail("port 1 answered");
}

bool postgres_reports_an_unreachable_database() {
    concordat::PostgresOptions options;
    options.url = "postgresql://127.0.0.1:1/none";
    const auto opened = concordat::PostgresResource::open(
        std::move(options), [](concordat::PostgresBranch&) { return concordat::vote_yes(); });
    return !opened || fail("port 1 answered");
}

bool inbox_refuses_a_consumer_without_a_name() {
    const auto created = concordat::inbox::Consumer::create(
        {},
        [](pqxx::transaction_base&, const concordat::inbox::Record&)
            -> std::expected<void, concordat::inbox::HandlerError> { return {}; });
    return !created || fail("a consumer needs a name");
}

} // namespace

int main() {
    // Volatile, so that the linker must find it.
    decltype(&concordat::outbox::publish) volatile publish = &concordat::outbox::publish;
    const bool linked = publish != nullptr;
    if (!linked || !participant_serves() || !client_reports_an_unreachable_coordinator() ||
        !postgres_reports_an_unreachable_database() || !inbox_refuses_a_consumer_without_a_name()) {
        return 1;
    }
    std::puts("ready");
    return 0;
}
