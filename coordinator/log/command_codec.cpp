#include "coordinator/log/command_codec.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"
#include "coordinator/log/command.pb.h"

#include <fmt/core.h>
#include <google/protobuf/arena.h>

#include <chrono>
#include <limits>
#include <optional>

namespace concordat::log {
namespace {

constexpr std::uint32_t entry_frame = 0x31454343U;    // "CCE1"
constexpr std::uint32_t snapshot_frame = 0x31534343U; // "CCS1"
constexpr std::size_t frame_header_bytes = 8;

template <class Proto>
std::string to_frame(const Proto& message, std::uint32_t frame) {
    const std::size_t length = message.ByteSizeLong();
    CONCORDAT_ASSERT(length <= std::numeric_limits<int>::max());
    std::string bytes;
    bytes.reserve(frame_header_bytes + round_up_to_8(length));
    ByteWriter writer{bytes};
    writer.number(frame);
    writer.number(static_cast<std::uint32_t>(length));
    bytes.resize(frame_header_bytes + round_up_to_8(length));
    CONCORDAT_ASSERT(
        message.SerializeToArray(bytes.data() + frame_header_bytes, static_cast<int>(length)));
    return bytes;
}

std::expected<std::string_view, std::string> from_frame(std::string_view bytes,
                                                        std::uint32_t frame) {
    ByteReader reader{bytes};
    const auto found = reader.number<std::uint32_t>();
    const auto length = reader.number<std::uint32_t>();
    const std::string_view content = reader.bytes(length);
    if (!reader.ok() || found != frame || reader.remaining() >= 8) {
        return std::unexpected(
            fmt::format("encoding {:08x} is not known here; a newer version wrote it", found));
    }
    return content;
}

std::int64_t to_milliseconds(core::WallTime time) {
    return time.time_since_epoch().count();
}
core::WallTime wall_time(std::int64_t milliseconds) {
    return core::WallTime{std::chrono::milliseconds{milliseconds}};
}

/// Reads numbers as enumerators and remembers the first one that does not exist.
class Checked {
public:
    template <class Enumeration>
    Enumeration enumerator(std::uint32_t value, Enumeration last) {
        if (value > static_cast<std::uint32_t>(last)) {
            fail("an enumerator");
            return Enumeration{};
        }
        return static_cast<Enumeration>(value);
    }
    void fail(std::string_view what) {
        if (!error_) {
            error_ = fmt::format("{} is not known here; a newer version wrote it", what);
        }
    }
    [[nodiscard]] const std::optional<std::string>& error() const { return error_; }

private:
    std::optional<std::string> error_;
};

// ---------------------------------------------------------------- to protobuf

void put(const core::BranchSpec& branch, wire::BranchSpec& out) {
    out.set_participant(branch.participant.value());
    if (branch.payload) {
        out.set_payload(*branch.payload);
    }
    if (branch.call_timeout) {
        out.set_call_timeout_ns(branch.call_timeout->count());
    }
}

void put(const core::Begin& begin, wire::Begin& out) {
    out.set_xid(begin.xid.value());
    out.set_protocol(static_cast<std::uint32_t>(begin.protocol));
    out.set_mode(static_cast<std::uint32_t>(begin.mode));
    for (const core::BranchSpec& branch : begin.branches) {
        put(branch, *out.add_branches());
    }
    out.set_timeout_ns(begin.timeout.count());
    out.set_digest(begin.digest);
    out.set_idempotency_key(begin.idempotency_key);
    out.set_traceparent(begin.traceparent);
    for (const auto& [key, value] : begin.metadata) {
        wire::MetadataItem& item = *out.add_metadata();
        item.set_key(key);
        item.set_value(value);
    }
    out.set_created_at_ms(to_milliseconds(begin.created_at));
    out.set_capability(begin.capability);
}

void put(const core::Decide& decide, wire::Decide& out) {
    out.set_xid(decide.xid.value());
    out.set_outcome(static_cast<std::uint32_t>(decide.outcome));
    out.set_reason(static_cast<std::uint32_t>(decide.reason));
    out.set_detail(decide.detail);
    for (const core::BranchNumber branch : decide.without_effect) {
        out.add_without_effect(branch.value());
    }
    out.set_at_ms(to_milliseconds(decide.at));
}

void put(const core::ParticipantDefinition& definition, wire::ParticipantDefinition& out) {
    out.set_base_url(definition.base_url);
    out.set_tls_name(definition.tls_name);
    out.set_call_timeout_ns(definition.call_timeout.count());
    out.set_max_concurrent_calls(definition.max_concurrent_calls);
}

void put(const core::OperatorAction& action, wire::OperatorAction& out) {
    out.set_who(action.who);
    out.set_action(action.action);
    out.set_object(action.object);
    out.set_why(action.why);
    out.set_at_ms(to_milliseconds(action.at));
}

void put(const core::Ballot& ballot, wire::Ballot& out) {
    out.set_round(ballot.round);
    out.set_proposer(ballot.proposer);
}

/// One overload per kind of command; a new kind does not compile until it has one.
struct CommandWriter {
    wire::Command& out;

    void operator()(const core::Begin& begin) const { put(begin, *out.mutable_begin()); }
    void operator()(const core::Enlist& enlist) const {
        out.mutable_enlist()->set_xid(enlist.xid.value());
        put(enlist.branch, *out.mutable_enlist()->mutable_branch());
        out.mutable_enlist()->set_at_ms(to_milliseconds(enlist.at));
    }
    void operator()(const core::Precommit& precommit) const {
        out.mutable_precommit()->set_xid(precommit.xid.value());
        out.mutable_precommit()->set_at_ms(to_milliseconds(precommit.at));
    }
    void operator()(const core::Decide& decide) const { put(decide, *out.mutable_decide()); }
    void operator()(const core::End& end) const {
        out.mutable_end()->set_xid(end.xid.value());
        out.mutable_end()->set_at_ms(to_milliseconds(end.at));
    }
    void operator()(const core::LeaderEpoch& epoch) const {
        out.mutable_leader_epoch()->set_leader(epoch.leader.value());
        out.mutable_leader_epoch()->set_nonce(epoch.nonce);
    }
    void operator()(const core::ReadBarrier&) const { out.mutable_read_barrier(); }
    void operator()(const core::PutParticipant& participant) const {
        out.mutable_put_participant()->set_name(participant.name.value());
        put(participant.definition, *out.mutable_put_participant()->mutable_definition());
    }
    void operator()(const core::RemoveParticipant& participant) const {
        out.mutable_remove_participant()->set_name(participant.name.value());
    }
    void operator()(const core::OperatorAction& action) const {
        put(action, *out.mutable_operator_action());
    }
    void operator()(const core::Promise& promise) const {
        out.mutable_promise()->set_xid(promise.xid.value());
        put(promise.ballot, *out.mutable_promise()->mutable_ballot());
        out.mutable_promise()->set_at_ms(to_milliseconds(promise.at));
    }
    void operator()(const core::Accept& accept) const {
        out.mutable_accept()->set_xid(accept.xid.value());
        put(accept.ballot, *out.mutable_accept()->mutable_ballot());
        out.mutable_accept()->set_value(static_cast<std::uint32_t>(accept.value));
        out.mutable_accept()->set_at_ms(to_milliseconds(accept.at));
    }
};

// ---------------------------------------------------------------- from protobuf

core::BranchSpec get(const wire::BranchSpec& branch) {
    core::BranchSpec result{core::ParticipantName{branch.participant()},
                            std::make_shared<const std::string>(branch.payload()), std::nullopt};
    if (branch.has_call_timeout_ns()) {
        result.call_timeout = core::Duration{branch.call_timeout_ns()};
    }
    return result;
}

core::Begin get(const wire::Begin& begin, Checked& check) {
    core::Begin result;
    result.xid = core::Xid{begin.xid()};
    result.protocol = check.enumerator(begin.protocol(), core::Protocol::three_phase);
    result.mode = check.enumerator(begin.mode(), core::Mode::interactive);
    result.branches.reserve(static_cast<std::size_t>(begin.branches_size()));
    for (const wire::BranchSpec& branch : begin.branches()) {
        result.branches.push_back(get(branch));
    }
    result.timeout = core::Duration{begin.timeout_ns()};
    result.digest = begin.digest();
    result.idempotency_key = begin.idempotency_key();
    result.traceparent = begin.traceparent();
    for (const wire::MetadataItem& item : begin.metadata()) {
        result.metadata[item.key()] = item.value();
    }
    result.created_at = wall_time(begin.created_at_ms());
    result.capability = begin.capability();
    return result;
}

core::Decide get(const wire::Decide& decide, Checked& check) {
    core::Decide result;
    result.xid = core::Xid{decide.xid()};
    result.outcome = check.enumerator(decide.outcome(), core::Outcome::aborted);
    result.reason =
        check.enumerator(decide.reason(), core::DecisionReason::participants_terminated);
    result.detail = decide.detail();
    for (const std::uint32_t branch : decide.without_effect()) {
        if (branch > std::numeric_limits<std::uint16_t>::max()) {
            check.fail("a branch number");
        }
        result.without_effect.emplace_back(static_cast<std::uint16_t>(branch));
    }
    result.at = wall_time(decide.at_ms());
    return result;
}

core::ParticipantDefinition get(const wire::ParticipantDefinition& definition) {
    return {definition.base_url(), definition.tls_name(),
            core::Duration{definition.call_timeout_ns()}, definition.max_concurrent_calls()};
}

core::OperatorAction get(const wire::OperatorAction& action) {
    return {action.who(), action.action(), action.object(), action.why(),
            wall_time(action.at_ms())};
}

core::Ballot get(const wire::Ballot& ballot) {
    return {ballot.round(), ballot.proposer()};
}

core::Command get(const wire::Command& command, Checked& check) {
    switch (command.kind_case()) {
    case wire::Command::kBegin:
        return get(command.begin(), check);
    case wire::Command::kEnlist:
        return core::Enlist{core::Xid{command.enlist().xid()}, get(command.enlist().branch()),
                            wall_time(command.enlist().at_ms())};
    case wire::Command::kPrecommit:
        return core::Precommit{core::Xid{command.precommit().xid()},
                               wall_time(command.precommit().at_ms())};
    case wire::Command::kDecide:
        return get(command.decide(), check);
    case wire::Command::kEnd:
        return core::End{core::Xid{command.end().xid()}, wall_time(command.end().at_ms())};
    case wire::Command::kLeaderEpoch:
        return core::LeaderEpoch{core::NodeId{command.leader_epoch().leader()},
                                 command.leader_epoch().nonce()};
    case wire::Command::kReadBarrier:
        return core::ReadBarrier{};
    case wire::Command::kPutParticipant:
        return core::PutParticipant{core::ParticipantName{command.put_participant().name()},
                                    get(command.put_participant().definition())};
    case wire::Command::kRemoveParticipant:
        return core::RemoveParticipant{core::ParticipantName{command.remove_participant().name()}};
    case wire::Command::kOperatorAction:
        return get(command.operator_action());
    case wire::Command::kPromise:
        return core::Promise{core::Xid{command.promise().xid()}, get(command.promise().ballot()),
                             wall_time(command.promise().at_ms())};
    case wire::Command::kAccept:
        return core::Accept{core::Xid{command.accept().xid()}, get(command.accept().ballot()),
                            check.enumerator(command.accept().value(), core::Outcome::aborted),
                            wall_time(command.accept().at_ms())};
    case wire::Command::KIND_NOT_SET:
        break;
    }
    check.fail("a command");
    return core::ReadBarrier{};
}

core::TransactionRecord get(const wire::TransactionRecord& record, Checked& check) {
    core::TransactionRecord result;
    result.begin = get(record.begin(), check);
    result.state = check.enumerator(record.state(), core::TransactionState::aborted);
    if (record.has_decision()) {
        result.decision = get(record.decision(), check);
    }
    result.begun_index = core::LogIndex{record.begun_index()};
    result.changed_index = core::LogIndex{record.changed_index()};
    if (record.has_precommitted_at_ms()) {
        result.precommitted_at = wall_time(record.precommitted_at_ms());
    }
    if (record.has_finished_at_ms()) {
        result.finished_at = wall_time(record.finished_at_ms());
    }
    if (record.has_acceptor()) {
        const wire::AcceptorRecord& acceptor = record.acceptor();
        result.acceptor = core::AcceptorRecord{
            get(acceptor.promised()), get(acceptor.accepted()),
            check.enumerator(acceptor.accepted_value(), core::Outcome::aborted)};
    }
    return result;
}

void put(const core::TransactionRecord& record, wire::TransactionRecord& out) {
    put(record.begin, *out.mutable_begin());
    out.set_state(static_cast<std::uint32_t>(record.state));
    if (record.decision) {
        put(*record.decision, *out.mutable_decision());
    }
    out.set_begun_index(record.begun_index.value());
    out.set_changed_index(record.changed_index.value());
    if (record.precommitted_at) {
        out.set_precommitted_at_ms(to_milliseconds(*record.precommitted_at));
    }
    if (record.finished_at) {
        out.set_finished_at_ms(to_milliseconds(*record.finished_at));
    }
    if (record.acceptor) {
        wire::AcceptorRecord& acceptor = *out.mutable_acceptor();
        put(record.acceptor->promised, *acceptor.mutable_promised());
        put(record.acceptor->accepted, *acceptor.mutable_accepted());
        acceptor.set_accepted_value(static_cast<std::uint32_t>(record.acceptor->accepted_value));
    }
}

core::SnapshotContent get(const wire::Snapshot& snapshot, Checked& check) {
    core::SnapshotContent result;
    result.applied_index = core::LogIndex{snapshot.applied_index()};
    result.epoch = core::Epoch{snapshot.epoch()};
    result.leader = core::NodeId{snapshot.leader()};
    result.closed_below = core::LogIndex{snapshot.closed_below()};
    for (const wire::TransactionRecord& record : snapshot.transactions()) {
        result.transactions.push_back(get(record, check));
    }
    for (const std::string& xid : snapshot.finished_order()) {
        result.finished_order.emplace_back(xid);
    }
    for (const wire::PutParticipant& participant : snapshot.participants()) {
        result.participants.emplace_back(core::ParticipantName{participant.name()},
                                         get(participant.definition()));
    }
    for (const wire::IdempotencyRecord& record : snapshot.idempotency()) {
        result.idempotency.push_back({record.key(), record.digest(), core::Xid{record.xid()}});
    }
    for (const wire::AuditRecord& record : snapshot.audit()) {
        result.audit.emplace_back(core::LogIndex{record.index()}, get(record.action()));
    }
    return result;
}

} // namespace

std::string encode_commands(std::span<const core::Command> commands) {
    google::protobuf::Arena arena;
    auto* entry = google::protobuf::Arena::CreateMessage<wire::Entry>(&arena);
    for (const core::Command& command : commands) {
        std::visit(CommandWriter{*entry->add_commands()}, command);
    }
    return to_frame(*entry, entry_frame);
}

std::expected<std::vector<core::Command>, std::string> decode_commands(std::string_view bytes) {
    const auto content = from_frame(bytes, entry_frame);
    if (!content) {
        return std::unexpected(content.error());
    }
    google::protobuf::Arena arena;
    auto* entry = google::protobuf::Arena::CreateMessage<wire::Entry>(&arena);
    if (!entry->ParseFromArray(content->data(), static_cast<int>(content->size()))) {
        return std::unexpected("the entry is not valid protobuf");
    }
    std::vector<core::Command> commands;
    commands.reserve(static_cast<std::size_t>(entry->commands_size()));
    Checked check;
    for (const wire::Command& command : entry->commands()) {
        commands.push_back(get(command, check));
    }
    if (check.error()) {
        return std::unexpected(*check.error());
    }
    return commands;
}

std::string encode_snapshot(const core::SnapshotContent& content) {
    google::protobuf::Arena arena;
    auto* snapshot = google::protobuf::Arena::CreateMessage<wire::Snapshot>(&arena);
    snapshot->set_applied_index(content.applied_index.value());
    snapshot->set_epoch(content.epoch.value());
    snapshot->set_leader(content.leader.value());
    snapshot->set_closed_below(content.closed_below.value());
    for (const core::TransactionRecord& record : content.transactions) {
        put(record, *snapshot->add_transactions());
    }
    for (const core::Xid& xid : content.finished_order) {
        snapshot->add_finished_order(xid.value());
    }
    for (const auto& [name, definition] : content.participants) {
        wire::PutParticipant& out = *snapshot->add_participants();
        out.set_name(name.value());
        put(definition, *out.mutable_definition());
    }
    for (const core::IdempotencyRecord& record : content.idempotency) {
        wire::IdempotencyRecord& out = *snapshot->add_idempotency();
        out.set_key(record.key);
        out.set_digest(record.digest);
        out.set_xid(record.xid.value());
    }
    for (const auto& [index, action] : content.audit) {
        wire::AuditRecord& out = *snapshot->add_audit();
        out.set_index(index.value());
        put(action, *out.mutable_action());
    }
    return to_frame(*snapshot, snapshot_frame);
}

std::expected<core::SnapshotContent, std::string> decode_snapshot(std::string_view bytes) {
    const auto content = from_frame(bytes, snapshot_frame);
    if (!content) {
        return std::unexpected(content.error());
    }
    google::protobuf::Arena arena;
    auto* snapshot = google::protobuf::Arena::CreateMessage<wire::Snapshot>(&arena);
    if (!snapshot->ParseFromArray(content->data(), static_cast<int>(content->size()))) {
        return std::unexpected("the snapshot is not valid protobuf");
    }
    Checked check;
    core::SnapshotContent result = get(*snapshot, check);
    if (check.error()) {
        return std::unexpected(*check.error());
    }
    return result;
}

} // namespace concordat::log
