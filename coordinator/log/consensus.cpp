#include "coordinator/log/consensus.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

// Last, so that it cannot touch any other header (see there).
#include "coordinator/log/raft_adapter.hpp"

namespace concordat::log {
namespace {

/// Far from the end of the number range, so that sums of indexes cannot wrap around.
constexpr Index max_index = Index{1} << 62U;

// Versions of the messages that this engine speaks; the library's private constants.
constexpr unsigned char vote_version = 2;
constexpr unsigned char vote_result_version = 2;
constexpr unsigned char append_result_version = 2;

/// Memory that the core frees, or hands back to be freed.
void* engine_token() {
    void* token = raft_malloc(8);
    CONCORDAT_ASSERT(token != nullptr);
    return token;
}

raft_buffer view_of(const std::string& bytes) {
    // The core reads the content of configuration entries only and writes to none.
    return raft_buffer{const_cast<char*>(bytes.data()), bytes.size()};
}

/// A configuration that the receiver of the event will own.
raft_configuration engine_configuration(const std::string& bytes) {
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    const raft_buffer buffer = view_of(bytes);
    const int code = raft_configuration_decode(&buffer, &configuration);
    CONCORDAT_ASSERT(code == 0);
    return configuration;
}

raft_snapshot_metadata engine_metadata(const SnapshotMetadata& metadata) {
    raft_snapshot_metadata result{};
    result.index = metadata.index;
    result.term = metadata.term;
    result.configuration_index = metadata.configuration_index;
    result.configuration = engine_configuration(metadata.configuration);
    return result;
}

raft_entry engine_entry(const Entry& entry, void* batch) {
    raft_entry result{};
    result.term = entry.term;
    result.type = static_cast<raft_entry_type>(entry.type);
    result.buf = view_of(*entry.bytes);
    result.batch = batch;
    return result;
}

bool is_valid(const SnapshotMetadata& metadata) {
    return metadata.index > 0 && metadata.index < max_index && metadata.term > 0 &&
           metadata.configuration_index > 0 && metadata.configuration_index <= metadata.index &&
           decode_configuration(metadata.configuration).has_value();
}

} // namespace

std::string encode_configuration(std::vector<VotingMember> members) {
    std::ranges::sort(members, {}, &VotingMember::id);
    raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (const VotingMember& member : members) {
        const int code =
            raft_configuration_add(&configuration, member.id, member.address.c_str(), RAFT_VOTER);
        CONCORDAT_ASSERT(code == 0);
    }
    raft_buffer buffer{};
    const int code = raft_configuration_encode(&configuration, &buffer);
    CONCORDAT_ASSERT(code == 0);
    std::string bytes(static_cast<const char*>(buffer.base), buffer.len);
    raft_free(buffer.base);
    raft_configuration_close(&configuration);
    return bytes;
}

std::optional<std::vector<VotingMember>> decode_configuration(std::string_view bytes) {
    // Checked here because the library's decoder trusts its input (rule 2): version, count, then
    // id, address up to a zero byte, role for each member.
    ByteReader reader{bytes};
    const auto version = reader.number<std::uint8_t>();
    const auto count = reader.number<std::uint64_t>();
    if (!reader.ok() || version != 1 || count == 0 || count > 1000) {
        return std::nullopt;
    }
    std::vector<VotingMember> members;
    std::size_t position = 9;
    for (std::uint64_t i = 0; i < count; ++i) {
        ByteReader item{bytes.substr(position)};
        const auto id = item.number<std::uint64_t>();
        const std::size_t end = item.ok() ? bytes.find('\0', position + 8) : std::string_view::npos;
        if (end == std::string_view::npos || end + 1 >= bytes.size() || id == 0) {
            return std::nullopt;
        }
        const auto role = static_cast<unsigned char>(bytes[end + 1]);
        VotingMember member{id, std::string(bytes.substr(position + 8, end - position - 8))};
        const bool repeated = std::ranges::any_of(members, [&](const VotingMember& other) {
            return other.id == member.id || other.address == member.address;
        });
        if (role > RAFT_SPARE || repeated) {
            return std::nullopt;
        }
        members.push_back(std::move(member));
        position = end + 2;
    }
    return members;
}

PersistedState bootstrap_state(std::vector<VotingMember> members) {
    PersistedState state;
    state.hard_state.term = 1;
    state.entries.push_back(
        {1, 1, EntryType::configuration,
         std::make_shared<const std::string>(encode_configuration(std::move(members)))});
    return state;
}

struct Consensus::Engine {
    raft core{};
    raft_update update{};

    explicit Engine(const ConsensusOptions& options) {
        const std::string address = std::to_string(options.id);
        const int code = raft_init(&core, nullptr, nullptr, options.id, address.c_str());
        CONCORDAT_ASSERT(code == 0);
        core.tracer = nullptr;
        raft_seed(&core, options.seed);
        raft_set_pre_vote(&core, true);
        raft_set_election_timeout(&core, options.election_timeout_ms);
        raft_set_heartbeat_timeout(&core, options.heartbeat_ms);
        raft_set_install_snapshot_timeout(&core, options.install_snapshot_timeout_ms);
        raft_set_max_inflight_entries(&core, options.max_inflight_entries);
    }
    ~Engine() { raft_close(&core, nullptr); }
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    int step(raft_event& event, Milliseconds now) {
        update = raft_update{};
        event.time = now;
        event.capacity = std::numeric_limits<unsigned short>::max();
        return raft_step(&core, &event, &update);
    }
    [[nodiscard]] bool has(unsigned flag) const { return (update.flags & flag) != 0; }
};

Consensus::Consensus(ConsensusOptions options)
    : options_(options), engine_(std::make_unique<Engine>(options)) {}

Consensus::~Consensus() = default;

// ---------------------------------------------------------------- events

Obligations Consensus::start(Milliseconds now, PersistedState state) {
    Obligations out;
    now_ = now;
    hard_state_ = state.hard_state;
    raft_snapshot_metadata metadata{};
    raft_event event{};
    event.type = RAFT_START;
    event.start.term = hard_state_.term;
    event.start.voted_for = hard_state_.voted_for;
    if (state.snapshot) {
        CONCORDAT_ASSERT(is_valid(*state.snapshot));
        snapshot_ = *state.snapshot;
        applied_ = snapshot_.index;
        configuration_index_ = snapshot_.configuration_index;
        configuration_bytes_ = snapshot_.configuration;
        metadata = engine_metadata(snapshot_);
        event.start.metadata = &metadata;
    }
    base_ = state.entries.empty() ? snapshot_.index : state.entries.front().index - 1;
    CONCORDAT_ASSERT(base_ <= snapshot_.index);
    std::vector<raft_entry> entries;
    void* token = engine_token();
    for (Entry& entry : state.entries) {
        CONCORDAT_ASSERT(entry.index == base_ + entries.size() + 1 && entry.term > 0);
        entries.push_back(engine_entry(entry, token));
        entries_.push_back(std::move(entry));
    }
    CONCORDAT_ASSERT(last_index() >= snapshot_.index);
    reported_durable_ = last_index();
    event.start.start_index = base_ + 1;
    event.start.entries = entries.data();
    event.start.n_entries = static_cast<unsigned>(entries.size());
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("start", code, out); // the core has freed the batch
        return out;
    }
    raft_free(token);
    collect({}, out);
    return out;
}

Obligations Consensus::receive(Milliseconds now, Message message) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_) {
        return out;
    }
    if (const char* reason = objection(message)) {
        ++rejected_messages_;
        last_rejection_ = reason;
        return out;
    }
    if (auto* append = std::get_if<AppendEntries>(&message.body)) {
        step_append_entries(message.from, std::move(*append), out);
        return out;
    }
    if (auto* install = std::get_if<InstallSnapshot>(&message.body)) {
        step_install_snapshot(message.from, std::move(*install), out);
        return out;
    }
    const std::string address = std::to_string(message.from);
    raft_message native{};
    native.server_id = message.from;
    native.server_address = address.c_str();
    if (const auto* vote = std::get_if<RequestVote>(&message.body)) {
        native.type = RAFT_REQUEST_VOTE;
        native.request_vote = {vote_version,         vote->term,          message.from,
                               vote->last_log_index, vote->last_log_term, vote->disrupt_leader,
                               vote->pre_vote};
    } else if (const auto* voted = std::get_if<RequestVoteResult>(&message.body)) {
        native.type = RAFT_REQUEST_VOTE_RESULT;
        native.request_vote_result = {vote_result_version, voted->term, voted->granted,
                                      voted->pre_vote,     0,           0};
    } else if (const auto* result = std::get_if<AppendEntriesResult>(&message.body)) {
        native.type = RAFT_APPEND_ENTRIES_RESULT;
        native.append_entries_result = {
            append_result_version, result->term, result->rejected, result->last_log_index, 0, 0};
    } else if (const auto* now_message = std::get_if<TimeoutNow>(&message.body)) {
        native.type = RAFT_TIMEOUT_NOW;
        native.timeout_now = {0, now_message->term, now_message->last_log_index,
                              now_message->last_log_term};
    }
    raft_event event{};
    event.type = RAFT_RECEIVE;
    event.receive.message = &native;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("message", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

/// Why a message must not reach the core; null when it may.
const char* Consensus::objection(const Message& message) const {
    if (message.from == 0 || message.from == options_.id || message.to != options_.id) {
        return "message with a wrong sender or receiver";
    }
    if (const auto* append = std::get_if<AppendEntries>(&message.body)) {
        return objection(*append);
    }
    if (const auto* install = std::get_if<InstallSnapshot>(&message.body)) {
        if (install->term == 0 || !is_valid(install->metadata) || install->data == nullptr ||
            install->metadata.term > install->term) {
            return "malformed InstallSnapshot";
        }
        if (installing_) {
            return "InstallSnapshot while another one is being installed"; // the core would leak it
        }
        if (role_ == EngineRole::leader && install->term == hard_state_.term) {
            return "InstallSnapshot from a second leader of the term";
        }
        return nullptr;
    }
    if (const auto* vote = std::get_if<RequestVote>(&message.body)) {
        const bool wrong = vote->term == 0 || vote->last_log_index >= max_index ||
                           (vote->last_log_index == 0) != (vote->last_log_term == 0) ||
                           vote->last_log_term > vote->term;
        return wrong ? "malformed RequestVote" : nullptr;
    }
    if (std::holds_alternative<RequestVoteResult>(message.body)) {
        // The core reads candidate state before it checks that it is a candidate.
        return role_ == EngineRole::candidate ? nullptr : "vote for a node that is no candidate";
    }
    if (const auto* result = std::get_if<AppendEntriesResult>(&message.body)) {
        const bool wrong = result->rejected >= max_index || result->last_log_index >= max_index;
        return wrong ? "malformed AppendEntriesResult" : nullptr;
    }
    const auto& timeout_now = std::get<TimeoutNow>(message.body);
    return timeout_now.term == 0 ? "malformed TimeoutNow" : nullptr;
}

const char* Consensus::objection(const AppendEntries& message) const {
    if (message.term == 0 || message.previous_index >= max_index ||
        message.leader_commit >= max_index ||
        (message.previous_index == 0) != (message.previous_term == 0) ||
        message.previous_term > message.term) {
        return "malformed AppendEntries";
    }
    if (role_ == EngineRole::leader && message.term == hard_state_.term) {
        return "AppendEntries from a second leader of the term";
    }
    Term term = message.previous_term;
    Index index = message.previous_index;
    for (const Entry& entry : message.entries) {
        const bool known_type = entry.type == EntryType::command ||
                                entry.type == EntryType::barrier ||
                                entry.type == EntryType::configuration;
        if (entry.index != ++index || entry.term < term || entry.term == 0 ||
            entry.term > message.term || !known_type || entry.bytes == nullptr) {
            return "malformed entry in AppendEntries";
        }
        if (entry.type == EntryType::configuration && !decode_configuration(*entry.bytes)) {
            return "malformed configuration in AppendEntries";
        }
        term = entry.term;
    }
    return nullptr;
}

/// The core compares terms only where it still has them: entries before its oldest one look new to
/// it and would be appended at the wrong place. What is committed here is equal in the log of
/// every leader of this or a later term, so such a message may start at the commit index instead.
void Consensus::skip_compacted_entries(AppendEntries& message) const {
    if (message.previous_index >= base_ || message.term < hard_state_.term) {
        return;
    }
    const Index committed = commit_index();
    const Index last = message.previous_index + message.entries.size();
    const Index skipped = std::min<Index>(last, committed) - message.previous_index;
    message.entries.erase(message.entries.begin(),
                          message.entries.begin() + static_cast<std::ptrdiff_t>(skipped));
    message.previous_index = committed;
    message.previous_term = term_of(committed);
}

void Consensus::step_append_entries(Peer from, AppendEntries message, Obligations& out) {
    skip_compacted_entries(message);
    const std::string address = std::to_string(from);
    do {
        // The core takes the index of the first new entry for that of a configuration further
        // back, so a configuration always starts a message of its own.
        auto split = message.entries.begin();
        if (split != message.entries.end()) {
            split = std::find_if(std::next(split), message.entries.end(), [](const Entry& entry) {
                return entry.type == EntryType::configuration;
            });
        }
        std::vector<Entry> part(std::make_move_iterator(message.entries.begin()),
                                std::make_move_iterator(split));
        message.entries.erase(message.entries.begin(), split);

        raft_message native{};
        native.type = RAFT_APPEND_ENTRIES;
        native.server_id = from;
        native.server_address = address.c_str();
        native.append_entries.term = message.term;
        native.append_entries.prev_log_index = message.previous_index;
        native.append_entries.prev_log_term = message.previous_term;
        native.append_entries.leader_commit = message.leader_commit;
        std::vector<raft_entry> entries;
        entries.reserve(part.size());
        if (!part.empty()) {
            message.previous_index = part.back().index;
            message.previous_term = part.back().term;
            void* token = engine_token();
            for (const Entry& entry : part) {
                entries.push_back(engine_entry(entry, token));
            }
        }
        native.append_entries.entries = entries.data();
        native.append_entries.n_entries = static_cast<unsigned>(entries.size());
        raft_event event{};
        event.type = RAFT_RECEIVE;
        event.receive.message = &native;
        const int code = engine_->step(event, now_);
        if (code != 0) {
            fail("AppendEntries", code, out);
            return;
        }
        collect(std::move(part), out);
    } while (!message.entries.empty() && !failed_);
}

void Consensus::step_install_snapshot(Peer from, InstallSnapshot message, Obligations& out) {
    const std::string address = std::to_string(from);
    raft_message native{};
    native.type = RAFT_INSTALL_SNAPSHOT;
    native.server_id = from;
    native.server_address = address.c_str();
    native.install_snapshot.term = message.term;
    native.install_snapshot.last_index = message.metadata.index;
    native.install_snapshot.last_term = message.metadata.term;
    native.install_snapshot.conf_index = message.metadata.configuration_index;
    native.install_snapshot.conf = engine_configuration(message.metadata.configuration);
    // The data itself stays here; the core only passes it through.
    native.install_snapshot.data = raft_buffer{engine_token(), 8};
    offered_snapshot_ = std::move(message.data);
    raft_event event{};
    event.type = RAFT_RECEIVE;
    event.receive.message = &native;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("InstallSnapshot", code, out);
        return;
    }
    collect({}, out);
    offered_snapshot_ = nullptr;
}

Obligations Consensus::entries_persisted(Milliseconds now, Generation generation, Index index) {
    Obligations out;
    now_ = std::max(now_, now);
    // A write of an older generation is covered by the later write that voided it (rule 5).
    if (failed_ || generation != generation_ || installing_ || index > last_index()) {
        return out;
    }
    reported_durable_ = std::max(reported_durable_, index);
    report_persisted(out);
    return out;
}

void Consensus::report_persisted(Obligations& out) {
    if (role_ == EngineRole::candidate || reported_durable_ <= engine_->core.last_stored ||
        installing_ || failed_) {
        return;
    }
    raft_event event{};
    event.type = RAFT_PERSISTED_ENTRIES;
    event.persisted_entries.index = reported_durable_;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("persisted entries", code, out);
        return;
    }
    collect({}, out);
}

Obligations Consensus::snapshot_installed(Milliseconds now, const SnapshotMetadata& metadata) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_) {
        return out;
    }
    CONCORDAT_ASSERT(installing_ && metadata == *installing_);
    CONCORDAT_ASSERT(role_ == EngineRole::follower);
    raft_event event{};
    event.type = RAFT_PERSISTED_SNAPSHOT;
    event.persisted_snapshot.metadata = engine_metadata(metadata);
    event.persisted_snapshot.last = true;
    snapshot_ = metadata;
    installing_.reset();
    applied_ = metadata.index;
    reported_durable_ = metadata.index;
    members_stale_ = true;
    configuration_index_ = metadata.configuration_index;
    configuration_bytes_ = metadata.configuration;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("persisted snapshot", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

std::pair<bool, Obligations> Consensus::snapshot_taken(Milliseconds now,
                                                       const SnapshotMetadata& metadata,
                                                       std::uint64_t trailing) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || installing_ || metadata.index <= snapshot_.index || metadata.index <= base_) {
        return {false, std::move(out)};
    }
    CONCORDAT_ASSERT(metadata.index <= applied_ && term_of(metadata.index) == metadata.term);
    raft_event event{};
    event.type = RAFT_SNAPSHOT;
    event.snapshot.metadata = engine_metadata(metadata);
    event.snapshot.trailing =
        static_cast<unsigned>(std::min<std::uint64_t>(trailing, std::numeric_limits<int>::max()));
    snapshot_ = metadata;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("snapshot", code, out);
        return {false, std::move(out)};
    }
    drop_prefix(engine_->core.trail.offset);
    collect({}, out);
    return {true, std::move(out)};
}

Obligations Consensus::timeout(Milliseconds now) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || now_ < next_timeout()) {
        return out;
    }
    raft_event event{};
    event.type = RAFT_TIMEOUT;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("timeout", code, out);
        return out;
    }
    collect({}, out);
    return out;
}

std::expected<Obligations, SubmitError> Consensus::submit(Milliseconds now,
                                                          core::SharedBytes bytes) {
    now_ = std::max(now_, now);
    if (failed_ || role_ != EngineRole::leader || is_transferring()) {
        return std::unexpected(SubmitError::not_leader);
    }
    if (last_index() - std::min(last_index(), commit_index()) >= options_.max_inflight_entries) {
        return std::unexpected(SubmitError::overloaded);
    }
    Entry entry{last_index() + 1, hard_state_.term, EntryType::command, std::move(bytes)};
    // The submitted buffer stays ours (rule 4): the batch names it without being freed.
    raft_entry native = engine_entry(entry, const_cast<char*>(entry.bytes->data()));
    raft_event event{};
    event.type = RAFT_SUBMIT;
    event.submit.entries = &native;
    event.submit.n = 1;
    const int code = engine_->step(event, now_);
    if (code != 0) {
        return std::unexpected(SubmitError::not_leader);
    }
    Obligations out;
    std::vector<Entry> offered;
    offered.push_back(std::move(entry));
    engine_->update.entries.batch[0].batch = nullptr;
    collect(std::move(offered), out);
    return out;
}

Obligations Consensus::transfer(Milliseconds now, std::optional<Peer> to) {
    Obligations out;
    now_ = std::max(now_, now);
    if (failed_ || role_ != EngineRole::leader) {
        return out;
    }
    raft_event event{};
    event.type = RAFT_TRANSFER;
    event.transfer.server_id = to.value_or(0);
    if (engine_->step(event, now_) == 0) {
        collect({}, out);
    }
    return out;
}

// ---------------------------------------------------------------- state

Milliseconds Consensus::next_timeout() const {
    return raft_timeout(&engine_->core);
}

Index Consensus::commit_index() const {
    return raft_commit_index(&engine_->core);
}

Index Consensus::persisted_index() const {
    return engine_->core.last_stored;
}

bool Consensus::is_transferring() const {
    return raft_transferee(&engine_->core) != 0;
}

std::vector<std::pair<Peer, Index>> Consensus::peers() const {
    std::vector<std::pair<Peer, Index>> result;
    for (const VotingMember& member : members_) {
        raft_index match = 0;
        if (member.id != options_.id && raft_match_index(&engine_->core, member.id, &match) == 0) {
            result.emplace_back(member.id, match);
        }
    }
    return result;
}

std::optional<SnapshotMetadata> Consensus::snapshot_of_applied() const {
    if (installing_ || applied_ <= snapshot_.index || applied_ > persisted_index()) {
        return std::nullopt;
    }
    return SnapshotMetadata{applied_, term_of(applied_), configuration_index_,
                            configuration_bytes_};
}

Term Consensus::term_of(Index index) const {
    if (index > base_ && index <= last_index()) {
        return entry_at(index).term;
    }
    return index == snapshot_.index ? snapshot_.term : 0;
}

void Consensus::drop_prefix(Index through) {
    while (base_ < through && !entries_.empty()) {
        entries_.pop_front();
        ++base_;
    }
}

// ---------------------------------------------------------------- obligations

void Consensus::collect(std::vector<Entry>&& offered, Obligations& out) {
    const bool hard_state_changed =
        engine_->has(RAFT_UPDATE_CURRENT_TERM) || engine_->has(RAFT_UPDATE_VOTED_FOR);
    if (hard_state_changed) {
        hard_state_ = {raft_current_term(&engine_->core), raft_voted_for(&engine_->core)};
        out.emplace_back(PersistHardState{hard_state_});
    }
    if (engine_->has(RAFT_UPDATE_ENTRIES)) {
        collect_entries(std::move(offered), out);
    }
    if (engine_->has(RAFT_UPDATE_SNAPSHOT)) {
        collect_snapshot(out);
    }
    if (engine_->has(RAFT_UPDATE_MESSAGES)) {
        collect_messages(out);
    }
    collect_role(out);
    collect_committed(out);
    report_persisted(out);
}

void Consensus::collect_entries(std::vector<Entry>&& offered, Obligations& out) {
    const auto& taken = engine_->update.entries;
    PersistEntries persist;
    for (unsigned i = 0; i < taken.n; ++i) {
        members_stale_ |= taken.batch[i].type == RAFT_CHANGE;
        const Index index = taken.index + i;
        const raft_entry& native = taken.batch[i];
        const auto ours = std::ranges::find(offered, index, &Entry::index);
        if (ours != offered.end()) {
            persist.entries.push_back(std::move(*ours));
        } else { // the core's own entry: the barrier of a new leader
            persist.entries.push_back(
                {index, native.term, static_cast<EntryType>(native.type),
                 std::make_shared<const std::string>(static_cast<const char*>(native.buf.base),
                                                     native.buf.len)});
        }
    }
    raft_free(taken.batch[0].batch); // one batch for all of them (rule 4)
    if (taken.index <= last_index()) {
        ++generation_;
        members_stale_ = true; // an uncommitted configuration may have been rolled back
        reported_durable_ = std::min<Index>(reported_durable_, taken.index - 1);
        entries_.resize(taken.index - base_ - 1);
    }
    CONCORDAT_ASSERT(taken.index == last_index() + 1);
    entries_.insert(entries_.end(), persist.entries.begin(), persist.entries.end());
    persist.generation = generation_;
    out.emplace_back(std::move(persist));
}

void Consensus::collect_snapshot(Obligations& out) {
    raft_snapshot_metadata& native = engine_->update.snapshot.metadata;
    SnapshotMetadata metadata{native.index, native.term, native.configuration_index, {}};
    raft_buffer configuration{};
    const int code = raft_configuration_encode(&native.configuration, &configuration);
    CONCORDAT_ASSERT(code == 0);
    metadata.configuration.assign(static_cast<const char*>(configuration.base), configuration.len);
    raft_free(configuration.base);
    raft_configuration_close(&native.configuration);
    raft_free(engine_->update.snapshot.chunk.base);

    ++generation_;
    entries_.clear();
    base_ = metadata.index;
    reported_durable_ = 0;
    installing_ = metadata;
    out.emplace_back(InstallReceivedSnapshot{std::move(metadata), std::move(offered_snapshot_)});
}

void Consensus::collect_messages(Obligations& out) {
    for (unsigned i = 0; i < engine_->update.messages.n; ++i) {
        const raft_message& native = engine_->update.messages.batch[i];
        Message message{options_.id, native.server_id, {}};
        switch (native.type) {
        case RAFT_REQUEST_VOTE: {
            const raft_request_vote& vote = native.request_vote;
            message.body = RequestVote{vote.term, vote.last_log_index, vote.last_log_term,
                                       vote.disrupt_leader, vote.pre_vote};
            break;
        }
        case RAFT_REQUEST_VOTE_RESULT: {
            const raft_request_vote_result& result = native.request_vote_result;
            message.body = RequestVoteResult{result.term, result.vote_granted, result.pre_vote};
            break;
        }
        case RAFT_APPEND_ENTRIES: {
            const raft_append_entries& append = native.append_entries;
            collect_append(native.server_id,
                           {append.term,
                            append.prev_log_index,
                            append.prev_log_term,
                            append.leader_commit,
                            {}},
                           append.n_entries, out);
            continue;
        }
        case RAFT_APPEND_ENTRIES_RESULT: {
            const raft_append_entries_result& result = native.append_entries_result;
            message.body = AppendEntriesResult{result.term, result.rejected, result.last_log_index};
            break;
        }
        case RAFT_INSTALL_SNAPSHOT:
            // Configuration and data are ours to fill in; the newest snapshot serves.
            message.body = InstallSnapshot{native.install_snapshot.term, snapshot_, nullptr};
            break;
        case RAFT_TIMEOUT_NOW: {
            const raft_timeout_now& now = native.timeout_now;
            message.body = TimeoutNow{now.term, now.last_log_index, now.last_log_term};
            break;
        }
        }
        out.emplace_back(Send{std::move(message)});
    }
}

/// The core keeps no entries, so they are read from our log; many of them go as several messages,
/// each of which stands on its own.
void Consensus::collect_append(Peer to, const AppendEntries& header, std::size_t count,
                               Obligations& out) {
    AppendEntries part = header;
    std::size_t bytes = 0;
    for (Index index = header.previous_index + 1; index <= header.previous_index + count; ++index) {
        const Entry& entry = entry_at(index);
        if (!part.entries.empty() && bytes + entry.bytes->size() > options_.max_message_bytes) {
            AppendEntries next{header.term,
                               part.entries.back().index,
                               part.entries.back().term,
                               header.leader_commit,
                               {}};
            out.emplace_back(Send{{options_.id, to, std::move(part)}});
            part = std::move(next);
            bytes = 0;
        }
        bytes += entry.bytes->size();
        part.entries.push_back(entry);
    }
    out.emplace_back(Send{{options_.id, to, std::move(part)}});
}

void Consensus::collect_role(Obligations& out) {
    EngineRole role = EngineRole::follower;
    switch (raft_state(&engine_->core)) {
    case RAFT_LEADER:
        role = EngineRole::leader;
        break;
    case RAFT_CANDIDATE:
        role = EngineRole::candidate;
        break;
    case RAFT_FOLLOWER:
    case RAFT_UNAVAILABLE:
        break;
    }
    raft_id leader_id = 0;
    const char* address = nullptr;
    raft_leader(&engine_->core, &leader_id, &address);
    const std::optional<Peer> leader =
        leader_id == 0 ? std::nullopt : std::optional<Peer>{leader_id};
    const auto& configuration = engine_->core.configuration;
    if (members_stale_) {
        members_stale_ = false;
        members_.clear();
        for (unsigned i = 0; i < configuration.n; ++i) {
            members_.push_back({configuration.servers[i].id, configuration.servers[i].address});
        }
    }
    if (role != role_ || leader != leader_ ||
        (role == EngineRole::leader && role_term_ != hard_state_.term)) {
        role_ = role;
        leader_ = leader;
        role_term_ = hard_state_.term;
        out.emplace_back(RoleChanged{role, leader, hard_state_.term});
    }
}

void Consensus::collect_committed(Obligations& out) {
    if (installing_) {
        return; // rule 11
    }
    ApplyEntries apply;
    while (applied_ < commit_index() && applied_ < last_index() && !failed_) {
        const Entry entry = entry_at(applied_ + 1);
        ++applied_;
        apply.entries.push_back(entry);
        if (entry.type == EntryType::configuration) {
            out.emplace_back(std::move(apply));
            apply = {};
            report_configuration(entry, out); // may recurse into here for later entries
        }
    }
    if (!apply.entries.empty()) {
        out.emplace_back(std::move(apply));
    }
}

void Consensus::report_configuration(const Entry& entry, Obligations& out) {
    configuration_index_ = entry.index;
    configuration_bytes_ = *entry.bytes;
    raft_event event{};
    event.type = RAFT_CONFIGURATION;
    event.configuration.index = entry.index;
    event.configuration.conf = engine_configuration(*entry.bytes);
    const int code = engine_->step(event, now_);
    if (code != 0) {
        fail("configuration", code, out);
        return;
    }
    collect({}, out);
}

void Consensus::fail(std::string_view what, int code, Obligations& out) {
    failed_ = true;
    std::string reason = "the consensus engine refused an event (";
    reason += what;
    reason += "): ";
    reason += raft_strerror(code);
    out.emplace_back(StopProcess{std::move(reason)});
}

} // namespace concordat::log
