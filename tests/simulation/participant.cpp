#include "tests/simulation/participant.hpp"

#include "coordinator/http/reply_rendering.hpp"
#include "coordinator/http/request_decoding.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

#include <algorithm>
#include <utility>

namespace concordat::simulation {
namespace {

constexpr std::int64_t hour = 3'600'000;

struct Gid {
    std::string xid;
    std::string branch;
};

// `<prefix>:<xid>:<branch>`
Gid parts_of(const std::string& gid) {
    const std::size_t first = gid.find(':');
    const std::size_t last = gid.rfind(':');
    return {gid.substr(first + 1, last - first - 1), gid.substr(last + 1)};
}

// `<xid>/<branch>`
std::string xid_of(const std::string& branch) {
    return branch.substr(0, branch.rfind('/'));
}

core::Outcome outcome_of(const std::string& text) {
    return text == "committed" ? core::Outcome::committed : core::Outcome::aborted;
}

std::uint64_t number_of(std::string_view text) {
    std::uint64_t number = 14695981039346656037U;
    for (const char byte : text) {
        number = (number ^ static_cast<unsigned char>(byte)) * 1099511628211U;
    }
    return number;
}

// What a node answers to a question of a participant.
participant::OutboundReply rendered(const core::Reply& reply) {
    transport::Response response;
    response.status = 503;
    if (const auto* inquiry = std::get_if<core::InquiryReply>(&reply)) {
        response = http::render_inquiry(*inquiry);
    } else if (const auto* ballot = std::get_if<core::BallotReply>(&reply)) {
        response = http::render_ballot(*ballot);
    }
    return {response.status, response.body};
}

// A transaction that the group does not know is aborted; its answer to a ballot is that of an
// inquiry.
participant::OutboundReply rendered_to_proposer(const core::Reply& reply) {
    if (const auto* inquiry = std::get_if<core::InquiryReply>(&reply)) {
        core::BallotReply settled;
        settled.xid = inquiry->xid;
        settled.outcome = inquiry->outcome;
        return rendered(settled);
    }
    return rendered(reply);
}

} // namespace

Participant::Participant(ParticipantHost& host, std::string name)
    : host_(host),
      name_(std::move(name)),
      fibers_(host.timeline()),
      database_(host.timeline(), fibers_, *this) {
    start();
    make_trouble();
}

// The fibers refer to the replicas and the database.
Participant::~Participant() {
    fibers_.drain();
}

// ---------------------------------------------------------------- requests

void Participant::serve(const core::ParticipantCall& call,
                        std::function<void(core::CallResult)> answer) {
    host_.timeline().trace(static_cast<std::uint64_t>(call.key.operation) * 256 +
                           call.key.branch.value());
    if (const ReplicaPtr replica = some_replica()) {
        replica->serve(call, std::move(answer));
    } else {
        answer({call.key, core::CallResult::Unknown{"connection refused"}});
    }
}

void Participant::serve(const PeerCall& call, PeerAnswer answer) {
    if (const ReplicaPtr replica = some_replica()) {
        replica->serve(call, std::move(answer));
    }
}

void Participant::ask(const participant::OutboundCall& call, PeerAnswer answer) {
    static constexpr std::string_view scheme = "http://";
    if (!call.target.starts_with("/v1/branches/")) {
        ask_coordinator(call, std::move(answer));
        return;
    }
    PeerCall request{call.method, call.target, {}, call.body};
    for (const auto& [name, value] : call.headers) {
        if (name == wire::capability_header) {
            request.capability = value;
        }
    }
    host_.send(
        call.base_url.substr(scheme.size()),
        [&host = host_, own = name_, request = std::move(request),
         answer = std::move(answer)](Participant& peer) {
            peer.serve(request, [&host, own, answer](participant::OutboundReply reply) {
                host.send(own, [answer, reply = std::move(reply)](Participant&) { answer(reply); });
            });
        });
}

void Participant::ask_coordinator(const participant::OutboundCall& call, PeerAnswer answer) {
    static constexpr std::string_view inquiry = "/v1/inquiry/";
    static constexpr std::string_view ballots = "/v1/transactions/";
    const std::string_view target = call.target;
    if (target.starts_with(inquiry)) {
        host_.ask_coordinator(
            call.base_url,
            core::InquiryRequest{core::Xid{std::string(target.substr(inquiry.size()))}},
            [answer = std::move(answer)](const core::Reply& reply) { answer(rendered(reply)); });
        return;
    }
    const bool accepts = target.ends_with("/ballots/accept");
    if (!target.starts_with(ballots) || (!accepts && !target.ends_with("/ballots/promise"))) {
        throw Violation("a request that no node serves: " + call.target);
    }
    const std::string_view rest = target.substr(ballots.size());
    const core::Xid xid{std::string(rest.substr(0, rest.find('/')))};
    const auto hear = [answer = std::move(answer)](const core::Reply& reply) {
        answer(rendered_to_proposer(reply));
    };
    auto body = accepts ? http::decode_accept(call.body) : http::decode_promise(call.body);
    if (!body) {
        throw Violation("a ballot that the API does not allow: " + call.body);
    }
    if (accepts) {
        host_.ask_coordinator(
            call.base_url,
            core::AcceptRequest{xid, body->ballot, body->value, std::move(body->capability)}, hear);
    } else {
        host_.ask_coordinator(call.base_url,
                              core::PromiseRequest{xid, body->ballot, std::move(body->capability)},
                              hear);
    }
}

// ---------------------------------------------------------------- life

bool Participant::is_up() const {
    return std::ranges::any_of(replicas_, [](const ReplicaPtr& one) { return one != nullptr; });
}

ReplicaPtr Participant::some_replica() {
    const std::size_t first = host_.timeline().pick(replicas_.size());
    const ReplicaPtr& one = replicas_[first];
    return one ? one : replicas_[(first + 1) % replicas_.size()];
}

void Participant::crash() {
    for (ReplicaPtr& replica : replicas_) {
        if (const ReplicaPtr victim = std::exchange(replica, nullptr)) {
            victim->crash();
        }
    }
    if (host_.bug() == Bug::participant_forgets_prepared) {
        database_.forget_prepared();
    }
}

void Participant::start() {
    database_.start();
    database_.set_room_for_prepared(1000);
    for (std::size_t number = 0; number < replicas_.size(); ++number) {
        start_replica(number);
        replicas_[number]->pause(0);
    }
}

void Participant::start_replica(std::size_t number) {
    if (!replicas_[number]) {
        replicas_[number] = std::make_shared<Replica>(static_cast<ReplicaHost&>(*this));
        replicas_[number]->start();
    }
}

std::vector<std::string> Participant::in_doubt() const {
    std::vector<std::string> xids;
    for (const std::string& gid : database_.prepared_gids()) {
        xids.push_back(parts_of(gid).xid);
    }
    return xids;
}

// ---------------------------------------------------------------- trouble

void Participant::make_trouble() {
    Timeline& timeline = host_.timeline();
    timeline.after(timeline.between(300, 2'500), [this] {
        if (host_.faults_are_on()) {
            one_fault();
        }
        make_trouble();
    });
}

void Participant::one_fault() {
    Timeline& timeline = host_.timeline();
    switch (timeline.pick(10)) {
    case 0:
    case 1:
    case 2:
        if (database_.kill_a_backend()) {
            timeline.inject(Fault::backend_killed, name_);
        }
        return;
    case 3:
    case 4:
        crash_database();
        return;
    case 5:
    case 6:
        crash_replica();
        return;
    case 7:
        if (const ReplicaPtr victim = some_replica()) {
            timeline.inject(Fault::replica_pause, name_);
            victim->pause(timeline.between(100, 3'000));
        }
        return;
    case 8:
        fill_prepared();
        return;
    default:
        jump_clock();
        return;
    }
}

void Participant::crash_replica() {
    Timeline& timeline = host_.timeline();
    const std::size_t number = timeline.pick(replicas_.size());
    if (const ReplicaPtr victim = std::exchange(replicas_[number], nullptr)) {
        timeline.inject(Fault::replica_crash, name_);
        victim->crash();
        timeline.after(timeline.between(50, 2'000), [this, number] { start_replica(number); });
    }
}

void Participant::crash_database() {
    Timeline& timeline = host_.timeline();
    if (database_.is_up()) {
        timeline.inject(Fault::database_crash, name_);
        guarded([this] { database_.crash(); });
        bound_.clear(); // epochs are remembered without waiting for the disk
        timeline.after(timeline.between(20, 1'500), [this] { database_.start(); });
    }
}

void Participant::fill_prepared() {
    Timeline& timeline = host_.timeline();
    database_.set_room_for_prepared(timeline.pick(2));
    timeline.after(timeline.between(200, 1'500), [this] { database_.set_room_for_prepared(1000); });
}

// The clock that ages are measured with. Forward without a limit; backward only a little, because
// recovery waits until a branch is old enough by this clock.
void Participant::jump_clock() {
    Timeline& timeline = host_.timeline();
    timeline.inject(Fault::database_clock_jump, name_);
    std::int64_t jump = static_cast<std::int64_t>(timeline.pick(8'000)) - 4'000;
    if (timeline.chance(150)) {
        jump = 25 * hour; // longer than what is forgotten lives
    }
    database_.jump_clock(jump);
}

// ---------------------------------------------------------------- what the run learns

bool Participant::goes_wrong(Fault fault, unsigned permille) {
    if (permille < 1000 && (!host_.faults_are_on() || !host_.timeline().chance(permille))) {
        return false;
    }
    host_.timeline().inject(fault, name_);
    return true;
}

void Participant::guarded(const std::function<void()>& check) {
    try {
        check();
    } catch (const Violation&) {
        if (!fibers_.is_inside()) {
            throw;
        }
        fibers_.fail(std::current_exception());
    }
}

void Participant::prepared(const std::string& gid) {
    const std::string xid = parts_of(gid).xid;
    host_.timeline().trace(number_of(gid));
    host_.timeline().tell(xid, name_, "vote_yes");
    guarded([&] { host_.ledger().voted_yes(xid, name_); });
}

void Participant::rolled_back(const std::string& gid) {
    ended(parts_of(gid).xid, core::Outcome::aborted, "aborted");
}

void Participant::decided(const std::string& branch, const std::string& outcome) {
    const std::string xid = xid_of(branch);
    if (outcome == "read_only") {
        return; // voted() tells
    }
    if (outcome_of(outcome) == core::Outcome::aborted) {
        ended(xid, core::Outcome::aborted, "tombstone");
        return;
    }
    if (one_phase_.contains(xid)) {
        guarded([&] { host_.ledger().voted_yes(xid, name_); });
    }
    ended(xid, core::Outcome::committed, "committed");
}

// An abort is rolled back first and leaves its tombstone then; each of them may be repeated. A
// commit is never allowed to be.
void Participant::ended(const std::string& xid, core::Outcome outcome, const char* event) {
    const auto [known, is_new] = ends_.emplace(xid, outcome);
    if (!is_new && known->second == outcome && outcome == core::Outcome::aborted) {
        return;
    }
    host_.timeline().trace(number_of(xid) + static_cast<std::uint64_t>(outcome));
    host_.timeline().tell(xid, name_, event);
    guarded([&] { host_.ledger().ended(xid, name_, outcome); });
}

void Participant::voted(const std::string& xid, Vote vote) {
    if (vote == Vote::read_only) {
        host_.timeline().tell(xid, name_, "vote_read_only");
        guarded([&] { host_.ledger().voted_yes(xid, name_); });
    } else if (vote == Vote::no) {
        host_.timeline().tell(xid, name_, "vote_no");
    }
}

core::Epoch Participant::bound_to(const std::string& xid) const {
    const auto found = bound_.find(xid);
    return found == bound_.end() || ends_.contains(xid) ? core::Epoch{} : found->second;
}

void Participant::obeyed(const std::string& xid, Vote vote, core::Epoch epoch, core::Epoch before) {
    guarded([&] { Ledger::obeyed(xid, name_, epoch, std::min(before, bound_to(xid))); });
    if (vote == Vote::yes) {
        bound_[xid] = std::max(bound_to(xid), epoch);
    }
}

void Participant::acceptor_changed(const std::string& branch, const BranchRow& before,
                                   const BranchRow& after) {
    if (after.accepted && after.accepted != before.accepted) {
        host_.timeline().tell(xid_of(branch), name_, "accept",
                              after.accepted->round + "." + after.accepted->proposer +
                                  (after.accepted->value == "committed" ? " commit" : " abort"));
    } else if (after.promised_round != before.promised_round ||
               after.promised_proposer != before.promised_proposer) {
        host_.timeline().tell(xid_of(branch), name_, "promise",
                              after.promised_round + "." + after.promised_proposer);
    }
}

// Nobody but the product touches this database: what it calls impossible must not happen.
void Participant::alarm(const Alarm& alarm) {
    if (alarm.kind == Alarm::Kind::prepared_branch_lost ||
        alarm.kind == Alarm::Kind::heuristic_outcome) {
        guarded([&] { throw Violation("I1: alarm at " + name_ + ": " + alarm.detail); });
    }
}

} // namespace concordat::simulation
