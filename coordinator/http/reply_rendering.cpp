#include "coordinator/http/reply_rendering.hpp"

#include "coordinator/http/request_headers.hpp"
#include "coordinator/http/time_text.hpp"
#include "participant-sdk/src/wire/json_text.hpp"
#include "participant-sdk/src/wire/participant_contract.hpp"

namespace concordat::http {
namespace {

std::string_view name_of(core::BranchPhase phase) noexcept {
    switch (phase) {
    case core::BranchPhase::enlisted:
        return "enlisted";
    case core::BranchPhase::preparing:
        return "preparing";
    case core::BranchPhase::prepared:
        return "prepared";
    case core::BranchPhase::read_only:
        return "read_only";
    case core::BranchPhase::refused:
        return "refused";
    case core::BranchPhase::precommitting:
        return "precommitting";
    case core::BranchPhase::precommitted:
        return "precommitted";
    case core::BranchPhase::committing:
        return "committing";
    case core::BranchPhase::committed:
        return "committed";
    case core::BranchPhase::aborting:
        return "aborting";
    case core::BranchPhase::aborted:
        return "aborted";
    }
    return "enlisted";
}

std::string_view name_of(core::DecisionReason reason) noexcept {
    switch (reason) {
    case core::DecisionReason::all_voted_yes:
        return "all_voted_yes";
    case core::DecisionReason::participant_refused:
        return "participant_refused";
    case core::DecisionReason::deadline_passed:
        return "deadline_passed";
    case core::DecisionReason::client_aborted:
        return "client_aborted";
    case core::DecisionReason::operator_aborted:
        return "operator_aborted";
    case core::DecisionReason::inquiry_before_decision:
        return "inquiry_before_decision";
    case core::DecisionReason::participants_terminated:
        return "participants_terminated";
    }
    return "all_voted_yes";
}

std::string_view name_of(core::Outcome outcome) noexcept {
    return outcome == core::Outcome::committed ? "committed" : "aborted";
}

void append_text_member(std::string& out, std::string_view name, std::string_view text) {
    out += ",\"";
    out += name;
    out += "\":";
    wire::append_json_string(out, text);
}

void append_number_member(std::string& out, std::string_view name, std::uint64_t value) {
    out += ",\"";
    out += name;
    out += "\":";
    wire::append_json_number(out, value);
}

void append_time_member(std::string& out, std::string_view name,
                        const std::optional<core::WallTime>& time) {
    if (time) {
        out += ",\"";
        out += name;
        out += "\":";
        append_time(out, *time);
    }
}

void append_branches(std::string& out, const std::vector<core::BranchView>& branches) {
    out += ",\"branches\":[";
    for (std::size_t number = 0; number < branches.size(); ++number) {
        const core::BranchView& branch = branches[number];
        out += number == 0 ? "{\"branch\":" : ",{\"branch\":";
        wire::append_json_number(out, number);
        append_text_member(out, "participant", branch.participant.value());
        append_text_member(out, "phase", name_of(branch.phase));
        append_number_member(out, "attempts", branch.attempts);
        if (!branch.last_error.empty()) {
            append_text_member(out, "last_error", branch.last_error);
        }
        out += '}';
    }
    out += ']';
}

void append_timeline(std::string& out, const std::vector<core::TimelineEvent>& timeline) {
    out += ",\"timeline\":[";
    for (const core::TimelineEvent& event : timeline) {
        out += &event == timeline.data() ? "{\"at\":" : ",{\"at\":";
        append_time(out, event.at);
        append_text_member(out, "event", event.event);
        if (event.branch) {
            append_number_member(out, "branch", event.branch->value());
        }
        if (!event.detail.empty()) {
            append_text_member(out, "detail", event.detail);
        }
        out += '}';
    }
    out += ']';
}

void append_metadata(std::string& out, const std::map<std::string, std::string>& metadata) {
    out += ",\"metadata\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
        if (!first) {
            out += ',';
        }
        first = false;
        wire::append_json_string(out, key);
        out += ':';
        wire::append_json_string(out, value);
    }
    out += '}';
}

void append_transaction(std::string& out, const core::TransactionView& view, bool with_timeline) {
    out += "{\"xid\":";
    wire::append_json_string(out, view.xid.value());
    out += view.protocol == core::Protocol::three_phase ? ",\"protocol\":\"3pc\""
                                                        : ",\"protocol\":\"2pc\"";
    out +=
        view.mode == core::Mode::interactive ? ",\"mode\":\"interactive\"" : ",\"mode\":\"submit\"";
    append_text_member(out, "state", http::name_of(view.state));
    if (view.outcome) {
        append_text_member(out, "outcome", name_of(*view.outcome));
    }
    if (view.reason) {
        append_text_member(out, "reason", name_of(*view.reason));
    }
    if (!view.detail.empty()) {
        append_text_member(out, "detail", view.detail);
    }
    append_branches(out, view.branches);
    if (!view.metadata.empty()) {
        append_metadata(out, view.metadata);
    }
    append_time_member(out, "created_at", view.created_at);
    append_time_member(out, "decided_at", view.decided_at);
    append_time_member(out, "finished_at", view.finished_at);
    append_number_member(out, "log_index", view.changed_index.value());
    out += view.needs_attention ? ",\"needs_attention\":true" : ",\"needs_attention\":false";
    if (with_timeline) {
        append_timeline(out, view.timeline);
    }
    out += '}';
}

transport::Response with_transaction(int status, const core::TransactionView& view,
                                     bool with_timeline) {
    transport::Response response;
    response.status = status;
    response.body.reserve(512);
    append_transaction(response.body, view, with_timeline);
    response.headers.add("ETag", entity_tag(view.changed_index));
    return response;
}

bool is_reached(const core::TransactionReply& reply, Awaited awaited) {
    const bool reached = awaited == Awaited::completion ? core::is_finished(reply.view.state)
                                                        : core::is_decided(reply.view.state);
    return reached && !reply.pending;
}

void append_participant(std::string& out, const core::ParticipantName& name,
                        const core::ParticipantDefinition& definition) {
    out += "{\"name\":";
    wire::append_json_string(out, name.value());
    append_text_member(out, "base_url", definition.base_url);
    if (!definition.tls_name.empty()) {
        append_text_member(out, "tls_name", definition.tls_name);
    }
    append_text_member(out, "call_timeout", format_duration(definition.call_timeout));
    append_number_member(out, "max_concurrent_calls", definition.max_concurrent_calls);
    out += '}';
}

void append_node(std::string& out, const NodeView& node) {
    out += "{\"id\":";
    wire::append_json_number(out, node.id.value());
    if (!node.api_url.empty()) {
        append_text_member(out, "api_url", node.api_url);
    }
    if (!node.peer_address.empty()) {
        append_text_member(out, "peer_address", node.peer_address);
    }
    out += node.is_self ? ",\"is_self\":true" : ",\"is_self\":false";
    out += node.is_leader ? ",\"is_leader\":true" : ",\"is_leader\":false";
    if (node.match_index) {
        append_number_member(out, "match_index", node.match_index->value());
    }
    out += '}';
}

} // namespace

transport::Response render_progress(const core::TransactionReply& reply, Awaited awaited) {
    const core::TransactionView& view = reply.view;
    int status = 202;
    if (is_reached(reply, awaited)) {
        status = 200;
    } else if (awaited == Awaited::opening) {
        status = 201;
    }
    transport::Response response = with_transaction(status, view, false);
    if (status != 200) {
        response.headers.add("Location", "/v1/transactions/" + view.xid.value());
    }
    if (status == 202) {
        response.headers.add("Retry-After", "1");
    }
    return response;
}

transport::Response render_enlisted(const core::TransactionReply& reply) {
    transport::Response response = with_transaction(201, reply.view, false);
    response.headers.add("Location", "/v1/transactions/" + reply.view.xid.value());
    return response;
}

transport::Response render_transaction(const core::TransactionReply& reply) {
    return with_transaction(200, reply.view, true);
}

transport::Response render_page(const core::TransactionPage& page) {
    transport::Response response;
    std::string& out = response.body;
    out = "{\"transactions\":[";
    for (const core::TransactionView& view : page.items) {
        if (&view != page.items.data()) {
            out += ',';
        }
        append_transaction(out, view, false);
    }
    out += ']';
    if (!page.next_after_xid.empty()) {
        append_text_member(out, "next_cursor", make_cursor(page.next_after_xid));
    }
    out += '}';
    return response;
}

transport::Response render_inquiry(const core::InquiryReply& reply) {
    transport::Response response;
    response.body = "{\"xid\":";
    wire::append_json_string(response.body, reply.xid.value());
    append_text_member(response.body, "outcome",
                       reply.outcome ? name_of(*reply.outcome) : std::string_view("undecided"));
    response.body += '}';
    if (!reply.outcome) {
        response.status = 202;
        response.headers.add("Retry-After", "1");
    }
    return response;
}

transport::Response render_ballot(const core::BallotReply& reply) {
    // The log holds only numbers that a route let in, so they fit.
    const auto to_wire = [](const core::Ballot& ballot) {
        return wire::Ballot{static_cast<std::uint32_t>(ballot.round),
                            static_cast<std::uint16_t>(ballot.proposer)};
    };
    const auto outcome_to_wire = [](core::Outcome outcome) {
        return outcome == core::Outcome::committed ? wire::Outcome::committed
                                                   : wire::Outcome::aborted;
    };
    wire::BallotAnswer answer;
    answer.granted = reply.granted;
    answer.promised = to_wire(reply.promised);
    if (reply.accepted) {
        answer.accepted_ballot = to_wire(*reply.accepted);
        answer.accepted_value = outcome_to_wire(reply.accepted_value);
    }
    if (reply.outcome) {
        answer.outcome = outcome_to_wire(*reply.outcome);
    } else if (!reply.granted) {
        answer.reason = "ballot";
    }
    transport::Response response;
    response.body = wire::encode(answer);
    return response;
}

transport::Response render_participants(const core::ParticipantsReply& reply) {
    transport::Response response;
    std::string& out = response.body;
    out = "{\"participants\":[";
    for (const auto& item : reply.items) {
        if (&item != reply.items.data()) {
            out += ',';
        }
        append_participant(out, item.first, item.second);
    }
    out += "]}";
    return response;
}

transport::Response render_participant(const core::ParticipantName& name,
                                       const core::ParticipantDefinition& definition) {
    transport::Response response;
    append_participant(response.body, name, definition);
    return response;
}

transport::Response render_cluster(const ClusterView& view, int status) {
    transport::Response response;
    response.status = status;
    std::string& out = response.body;
    out = "{\"cluster\":";
    wire::append_json_string(out, view.cluster_name);
    append_number_member(out, "node_id", view.self.value());
    append_text_member(out, "role", view.role);
    if (view.leader) {
        append_number_member(out, "leader_id", view.leader->value());
    }
    out += view.leader_is_serving ? ",\"serving\":true" : ",\"serving\":false";
    append_number_member(out, "term", view.term);
    append_number_member(out, "epoch", view.epoch.value());
    append_number_member(out, "last_index", view.last_index.value());
    append_number_member(out, "commit_index", view.commit_index.value());
    append_number_member(out, "applied_index", view.applied_index.value());
    append_number_member(out, "snapshot_index", view.snapshot_index.value());
    out += view.replayed ? ",\"replayed\":true" : ",\"replayed\":false";
    out += view.draining ? ",\"draining\":true" : ",\"draining\":false";
    append_text_member(out, "version", view.version);
    out += ",\"nodes\":[";
    for (const NodeView& node : view.nodes) {
        if (&node != view.nodes.data()) {
            out += ',';
        }
        append_node(out, node);
    }
    out += "]}";
    return response;
}

} // namespace concordat::http
