#include "coordinator/http/request_decoding.hpp"

#include "coordinator/http/access.hpp"
#include "coordinator/http/time_text.hpp"
#include "participant-sdk/src/transport/uri.hpp"
#include "participant-sdk/src/wire/json_text.hpp"

#include <algorithm>
#include <set>

namespace concordat::http {
namespace {

constexpr core::Duration longest_call_timeout = std::chrono::minutes{10};
constexpr std::int64_t most_concurrent_calls = 4096;
constexpr std::int64_t highest_round = UINT32_MAX;
constexpr std::int64_t highest_proposer = UINT16_MAX;

void read_duration(JsonReader& reader, std::optional<core::Duration>& out) {
    const auto text = reader.string();
    if (!text) {
        return;
    }
    out = parse_duration(*text);
    if (!out || *out == core::Duration::zero()) {
        reader.complain("must be a positive duration such as 250ms, 10s, 5m or 1h");
    }
}

void read_wait_for(JsonReader& reader, core::WaitFor& out) {
    const auto text = reader.string();
    if (!text) {
        return;
    }
    if (*text == "begun") {
        out = core::WaitFor::begun;
    } else if (*text == "decision") {
        out = core::WaitFor::decision;
    } else if (*text == "completion") {
        out = core::WaitFor::completion;
    } else {
        reader.complain("must be begun, decision or completion");
    }
}

void read_text(JsonReader& reader, std::string& out, std::size_t limit) {
    auto text = reader.string();
    if (!text) {
        return;
    }
    if (text->size() > limit) {
        reader.complain("must be at most " + std::to_string(limit) + " bytes");
    }
    out = std::move(*text);
}

void read_metadata(JsonReader& reader, std::map<std::string, std::string>& out) {
    reader.object([&](std::string_view key) {
        std::string value;
        read_text(reader, value, max_metadata_value_bytes);
        if (key.empty() || key.size() > max_metadata_key_bytes) {
            reader.complain("the name must be 1 to 64 bytes");
        }
        out.insert_or_assign(std::string(key), std::move(value));
    });
    if (out.size() > max_metadata_entries) {
        reader.complain("must have at most 32 entries");
    }
}

core::BranchSpec read_branch(JsonReader& reader) {
    core::BranchSpec branch;
    bool named = false;
    const bool is_object = reader.object([&](std::string_view key) {
        if (key == "participant") {
            named = true;
            const auto text = reader.string();
            auto name = text ? core::parse_participant_name(*text) : std::nullopt;
            if (name) {
                branch.participant = std::move(*name);
            } else if (text) {
                reader.complain("must match [a-z0-9-]{1,63}");
            }
        } else if (key == "payload") {
            if (const auto raw = reader.raw()) {
                branch.payload = std::make_shared<const std::string>(*raw);
            }
        } else if (key == "timeout") {
            read_duration(reader, branch.call_timeout);
        } else {
            reader.unknown_member();
        }
    });
    if (is_object && !named) {
        reader.complain_about("participant", "is missing");
    }
    if (is_object && !branch.payload) {
        reader.complain_about("payload", "is missing");
    }
    return branch;
}

void read_branches(JsonReader& reader, std::vector<core::BranchSpec>& out) {
    reader.array([&](std::size_t) {
        if (out.size() == max_branches_read) {
            reader.raw();
            return;
        }
        out.push_back(read_branch(reader));
    });
}

bool read_choice(JsonReader& reader, std::string_view first, std::string_view second) {
    const auto text = reader.string();
    if (text && *text != first && *text != second) {
        reader.complain("must be " + std::string(first) + " or " + std::string(second));
    }
    return text && *text == second;
}

/// The decoded value, or the complaints there were.
template <class Value>
Decoded<Value> finished(JsonReader& reader, Value&& value) {
    reader.finish();
    if (!reader.complaints().empty()) {
        return std::unexpected(reader.take_complaints());
    }
    return std::forward<Value>(value);
}

std::string_view or_empty_object(std::string_view body) {
    return body.empty() ? std::string_view("{}") : body;
}

Decoded<DecideBody> decode_decide(std::string_view body, bool may_explain) {
    JsonReader reader(or_empty_object(body));
    DecideBody out;
    reader.object([&](std::string_view key) {
        if (key == "wait_for") {
            read_wait_for(reader, out.wait_for);
        } else if (key == "reason" && may_explain) {
            read_text(reader, out.reason, max_reason_bytes);
        } else if (key == "by_operator" && may_explain) {
            out.by_operator = reader.boolean().value_or(false);
        } else {
            reader.unknown_member();
        }
    });
    if (!reader.broken() && out.by_operator && out.reason.empty()) {
        reader.complain_about("reason", "is required of an operator");
    }
    return finished(reader, std::move(out));
}

void read_ballot(JsonReader& reader, core::Ballot& out) {
    bool has_round = false;
    bool has_proposer = false;
    const bool is_object = reader.object([&](std::string_view key) {
        if (key == "round") {
            has_round = true;
            out.round = static_cast<std::uint64_t>(reader.integer(1, highest_round).value_or(1));
        } else if (key == "proposer") {
            has_proposer = true;
            out.proposer =
                static_cast<std::uint64_t>(reader.integer(1, highest_proposer).value_or(1));
        } else {
            reader.unknown_member();
        }
    });
    if (is_object && !has_round) {
        reader.complain_about("round", "is missing");
    }
    if (is_object && !has_proposer) {
        reader.complain_about("proposer", "is missing");
    }
}

Decoded<BallotBody> decode_ballot(std::string_view body, bool with_value) {
    JsonReader reader(body);
    BallotBody out;
    std::set<std::string_view> missing{"ballot", "capability"};
    if (with_value) {
        missing.insert("value");
    }
    const bool is_object = reader.object([&](std::string_view key) {
        missing.erase(key);
        if (key == "ballot") {
            read_ballot(reader, out.ballot);
        } else if (key == "capability") {
            read_text(reader, out.capability, max_capability_bytes);
        } else if (key == "value" && with_value) {
            out.value = read_choice(reader, "committed", "aborted") ? core::Outcome::aborted
                                                                    : core::Outcome::committed;
        } else {
            reader.unknown_member();
        }
    });
    if (is_object && !reader.broken()) {
        for (const std::string_view member : missing) {
            reader.complain_about(member, "is missing");
        }
    }
    return finished(reader, std::move(out));
}

void append_field(std::string& out, std::string_view bytes) {
    wire::append_json_number(out, bytes.size());
    out += ':';
    out += bytes;
}

void append_field(std::string& out, std::optional<core::Duration> duration) {
    append_field(out, duration ? std::to_string(duration->count()) : std::string());
}

} // namespace

Decoded<core::BeginRequest> decode_begin(std::string_view body) {
    JsonReader reader(body);
    core::BeginRequest out;
    bool has_branches = false;
    const bool is_object = reader.object([&](std::string_view key) {
        if (key == "branches") {
            has_branches = true;
            read_branches(reader, out.branches);
        } else if (key == "protocol") {
            out.protocol = read_choice(reader, "2pc", "3pc") ? core::Protocol::three_phase
                                                             : core::Protocol::two_phase;
        } else if (key == "mode") {
            out.mode = read_choice(reader, "submit", "interactive") ? core::Mode::interactive
                                                                    : core::Mode::submit;
        } else if (key == "timeout") {
            read_duration(reader, out.timeout);
        } else if (key == "metadata") {
            read_metadata(reader, out.metadata);
        } else if (key == "wait_for") {
            read_wait_for(reader, out.wait_for);
        } else {
            reader.unknown_member();
        }
    });
    if (is_object && out.mode == core::Mode::submit && out.branches.empty()) {
        reader.complain_about("branches", has_branches ? "must not be empty" : "is missing");
    }
    return finished(reader, std::move(out));
}

Decoded<core::BranchSpec> decode_branch(std::string_view body) {
    JsonReader reader(body);
    core::BranchSpec branch = read_branch(reader);
    return finished(reader, std::move(branch));
}

Decoded<DecideBody> decode_commit(std::string_view body) {
    return decode_decide(body, false);
}

Decoded<DecideBody> decode_abort(std::string_view body) {
    return decode_decide(body, true);
}

Decoded<std::string> decode_reason(std::string_view body) {
    JsonReader reader(or_empty_object(body));
    std::string reason;
    reader.object([&](std::string_view key) {
        if (key == "reason") {
            read_text(reader, reason, max_reason_bytes);
        } else {
            reader.unknown_member();
        }
    });
    return finished(reader, std::move(reason));
}

Decoded<core::ParticipantDefinition> decode_participant(std::string_view body) {
    JsonReader reader(body);
    core::ParticipantDefinition out;
    bool has_url = false;
    const bool is_object = reader.object([&](std::string_view key) {
        if (key == "base_url") {
            has_url = true;
            read_text(reader, out.base_url, transport::max_url_bytes);
            if (const auto url = transport::parse_base_url(out.base_url);
                !url && !reader.broken() && reader.complaints().empty()) {
                reader.complain(url.error());
            }
        } else if (key == "tls_name") {
            read_text(reader, out.tls_name, 253);
        } else if (key == "call_timeout") {
            std::optional<core::Duration> timeout;
            read_duration(reader, timeout);
            if (timeout && *timeout > longest_call_timeout) {
                reader.complain("must be at most 10m");
            }
            out.call_timeout = timeout.value_or(out.call_timeout);
        } else if (key == "max_concurrent_calls") {
            if (const auto calls = reader.integer(1, most_concurrent_calls)) {
                out.max_concurrent_calls = static_cast<std::uint32_t>(*calls);
            }
        } else {
            reader.unknown_member();
        }
    });
    if (is_object && !has_url) {
        reader.complain_about("base_url", "is missing");
    }
    return finished(reader, std::move(out));
}

Decoded<TransferBody> decode_transfer(std::string_view body) {
    JsonReader reader(or_empty_object(body));
    TransferBody out;
    reader.object([&](std::string_view key) {
        if (key == "to") {
            if (const auto id = reader.integer(1, INT64_MAX)) {
                out.to = core::NodeId{static_cast<std::uint64_t>(*id)};
            }
        } else if (key == "reason") {
            read_text(reader, out.reason, max_reason_bytes);
        } else {
            reader.unknown_member();
        }
    });
    return finished(reader, std::move(out));
}

Decoded<BallotBody> decode_promise(std::string_view body) {
    return decode_ballot(body, false);
}

Decoded<BallotBody> decode_accept(std::string_view body) {
    return decode_ballot(body, true);
}

core::Digest digest_of(const core::BeginRequest& request) {
    std::string content = "concordat-begin-1;";
    content += request.protocol == core::Protocol::three_phase ? '3' : '2';
    content += request.mode == core::Mode::interactive ? 'i' : 's';
    append_field(content, request.timeout);
    append_field(content, std::to_string(request.metadata.size()));
    for (const auto& [key, value] : request.metadata) {
        append_field(content, key);
        append_field(content, value);
    }
    append_field(content, std::to_string(request.branches.size()));
    for (const core::BranchSpec& branch : request.branches) {
        append_field(content, branch.participant.value());
        append_field(content, *branch.payload);
        append_field(content, branch.call_timeout);
    }
    const Sha256 digest = sha256(content);
    return {digest.begin(), digest.end()};
}

} // namespace concordat::http
