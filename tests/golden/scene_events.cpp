#include "tests/golden/scene.hpp"

#include <stdexcept>

namespace concordat::golden {

using namespace core;

Scene::Scene() {
    handlers_ = {
        {"nodes", &Scene::on_nodes},     {"lead", &Scene::on_lead},
        {"lose", &Scene::on_lose},       {"pause", &Scene::on_pause},
        {"resume", &Scene::on_resume},   {"commit", &Scene::on_commit},
        {"cut", &Scene::on_cut},         {"refuse", &Scene::on_refuse},
        {"advance", &Scene::on_advance}, {"register", &Scene::on_register},
        {"remove", &Scene::on_remove},   {"begin", &Scene::on_begin},
        {"enlist", &Scene::on_enlist},   {"decide", &Scene::on_decide},
        {"get", &Scene::on_get},         {"list", &Scene::on_list},
        {"inquire", &Scene::on_inquire}, {"retry", &Scene::on_retry},
        {"forget", &Scene::on_forget},   {"answer", &Scene::on_answer},
        {"figures", &Scene::on_figures}, {"promise", &Scene::on_ballot},
        {"accept", &Scene::on_ballot},   {"timeline", &Scene::on_timeline},
    };
}

std::vector<std::string> Scene::play(const std::string& event) {
    const Line line = Line::parse(event);
    const auto handler = handlers_.find(line.word(0));
    if (handler == handlers_.end()) {
        throw std::runtime_error("unknown event: " + event);
    }
    told_.clear();
    (this->*handler->second)(line);
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
        turn(node);
    }
    return std::move(told_);
}

void Scene::tell(std::string text) {
    told_.push_back(std::move(text));
}

std::string Scene::node_prefix(std::size_t node) const {
    return nodes_.size() == 1 ? std::string{} : "n" + std::to_string(node + 1) + " ";
}

std::size_t Scene::target(const Line& line) const {
    const std::string name = line.option("on", "n" + std::to_string(leader_ + 1));
    return static_cast<std::size_t>(std::stoul(name.substr(1))) - 1;
}

void Scene::turn(std::size_t index) {
    Node& node = nodes_[index];
    Actions actions = node.coordinator->take_actions();
    const std::string prefix = node_prefix(index);
    if (!actions.append.empty()) {
        std::string text;
        for (const Command& command : actions.append) {
            text += (text.empty() ? "" : " + ") + text_of(command);
        }
        if (refuse_next_) {
            refuse_next_ = false;
            tell(prefix + "append refused: " + text);
            node.coordinator->append_failed(refuse_with_loss_);
            Actions rest = node.coordinator->take_actions();
            actions.calls.insert(actions.calls.end(), rest.calls.begin(), rest.calls.end());
            actions.replies.insert(actions.replies.end(), rest.replies.begin(), rest.replies.end());
        } else if (index != leader_) {
            tell(prefix + "append into the void: " + text);
        } else {
            log_.push_back(std::move(actions.append));
            tell(prefix + "append " + std::to_string(log_.size()) + ": " + text);
        }
    }
    for (ParticipantCall& call : actions.calls) {
        tell(prefix + "call " + text_of(call));
        calls_.push_back({index, std::move(call)});
    }
    for (const auto& [token, reply] : actions.replies) {
        tell(prefix + "reply r" + std::to_string(token.value()) + ": " + text_of(reply));
    }
}

void Scene::apply_committed(std::size_t index) {
    Node& node = nodes_[index];
    while (!node.paused && node.applied < committed_) {
        std::vector<Command> copy = log_[node.applied++];
        node.coordinator->apply(LogIndex{node.applied}, std::move(copy));
    }
}

// ------------------------------------------------------------------------- nodes, time, the log

void Scene::on_nodes(const Line& line) {
    const std::size_t count = std::stoul(line.word(1));
    for (std::size_t i = 0; i < count; ++i) {
        CoordinatorOptions options;
        options.node = NodeId{i + 1};
        options.seed = i + 1;
        options.max_branches = 4;
        options.max_in_flight = std::stoul(line.option("max_in_flight", "1000"));
        options.retention.finished_transactions = std::stoul(line.option("retain", "100"));
        nodes_.push_back({std::make_unique<TransactionCoordinator>(options), 0, false});
        nodes_.back().coordinator->advance(now_, wall_);
    }
}

void Scene::on_lead(const Line& line) {
    leader_ = static_cast<std::size_t>(std::stoul(line.word(1).substr(1))) - 1;
    nodes_[leader_].coordinator->became_leader();
}

void Scene::on_lose(const Line& line) {
    const std::size_t node = static_cast<std::size_t>(std::stoul(line.word(1).substr(1))) - 1;
    const std::string next = line.option("leader");
    nodes_[node].coordinator->lost_leadership(
        next.empty() ? std::nullopt : std::optional{NodeId{std::stoul(next.substr(1))}});
}

void Scene::on_pause(const Line& line) {
    nodes_[std::stoul(line.word(1).substr(1)) - 1].paused = true;
}

void Scene::on_resume(const Line& line) {
    const std::size_t node = std::stoul(line.word(1).substr(1)) - 1;
    nodes_[node].paused = false;
    nodes_[node].coordinator->advance(now_, wall_);
    apply_committed(node);
}

void Scene::on_commit(const Line& line) {
    const std::size_t most = std::stoul(line.option("entries", "1000"));
    for (std::size_t i = 0; i < most && committed_ < log_.size(); ++i) {
        ++committed_;
    }
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
        apply_committed(node);
    }
}

/// Entries that no quorum has are gone.
void Scene::on_cut(const Line&) {
    log_.resize(committed_);
}

void Scene::on_refuse(const Line& line) {
    refuse_next_ = true;
    refuse_with_loss_ = line.has("lost");
}

void Scene::on_advance(const Line& line) {
    now_ += duration_of(line.word(1));
    wall_ += std::chrono::duration_cast<std::chrono::milliseconds>(duration_of(line.word(1)));
    // A clock of the wall that jumps decides nothing (C14).
    wall_ += std::chrono::duration_cast<std::chrono::milliseconds>(
        duration_of(line.option("jump", "0ms")));
    for (Node& node : nodes_) {
        if (!node.paused) {
            node.coordinator->advance(now_, wall_);
        }
    }
}

// ------------------------------------------------------------------------------------- requests

void Scene::request(const Line& line, ClientRequest request) {
    nodes_[target(line)].coordinator->request(RequestToken{++last_token_}, std::move(request));
}

void Scene::on_register(const Line& line) {
    for (std::size_t i = 1; i < line.words.size(); ++i) {
        ParticipantDefinition definition;
        definition.base_url = "http://" + line.words[i];
        definition.max_concurrent_calls =
            static_cast<std::uint32_t>(std::stoul(line.option("calls", "64")));
        request(line, PutParticipantRequest{ParticipantName{line.words[i]}, definition, "ops"});
    }
}

void Scene::on_remove(const Line& line) {
    request(line, RemoveParticipantRequest{ParticipantName{line.word(1)}, "ops", "gone"});
}

void Scene::on_begin(const Line& line) {
    BeginRequest begin;
    if (line.word(1) != "-") {
        begin.xid = Xid{line.word(1)};
    }
    begin.protocol = line.word(2) == "3pc" ? Protocol::three_phase : Protocol::two_phase;
    for (std::size_t i = 3; i < line.words.size(); ++i) {
        if (line.words[i] == "interactive") {
            begin.mode = Mode::interactive;
        } else {
            begin.branches.push_back({ParticipantName{line.words[i]},
                                      std::make_shared<const std::string>("{}"), std::nullopt});
        }
    }
    begin.digest = line.option("body", "body");
    begin.idempotency_key = line.option("key");
    if (line.options.contains("timeout")) {
        begin.timeout = duration_of(line.option("timeout"));
    }
    if (line.options.contains("limit")) {
        begin.wait_limit = duration_of(line.option("limit"));
    }
    const std::string wait = line.option("wait", "decision");
    begin.wait_for = wait == "begun"        ? WaitFor::begun
                     : wait == "completion" ? WaitFor::completion
                                            : WaitFor::decision;
    request(line, std::move(begin));
}

void Scene::on_enlist(const Line& line) {
    request(line, EnlistRequest{Xid{line.word(1)},
                                {ParticipantName{line.word(2)},
                                 std::make_shared<const std::string>("{}"), std::nullopt}});
}

void Scene::on_decide(const Line& line) {
    DecideRequest decide;
    decide.xid = Xid{line.word(1)};
    decide.wanted = line.word(2) == "commit" ? Outcome::committed : Outcome::aborted;
    decide.by_operator = line.has("operator");
    decide.who = "ops";
    decide.why = line.option("why");
    request(line, std::move(decide));
}

void Scene::on_get(const Line& line) {
    GetRequest get;
    get.xid = Xid{line.word(1)};
    get.stale_allowed = line.has("stale");
    if (line.options.contains("index")) {
        get.wait_index = LogIndex{std::stoul(line.option("index"))};
        get.wait_limit = duration_of(line.option("limit", "1s"));
    }
    request(line, std::move(get));
}

void Scene::on_timeline(const Line& line) {
    on_get(line);
}

void Scene::on_list(const Line& line) {
    ListRequest list;
    list.limit = std::stoul(line.option("limit", "50"));
    list.after_xid = line.option("after");
    list.xid_prefix = line.option("prefix");
    list.in_doubt = line.has("in_doubt");
    if (line.has("decided") || line.has("undecided")) {
        list.decided = line.has("decided");
    }
    if (line.options.contains("participant")) {
        list.participant = ParticipantName{line.option("participant")};
    }
    if (line.options.contains("older")) {
        list.older_than = duration_of(line.option("older"));
    }
    request(line, std::move(list));
}

void Scene::on_inquire(const Line& line) {
    request(line, InquiryRequest{Xid{line.word(1)}});
}

/// `promise t round=1 proposer=2`, `accept t round=1 proposer=2 value=abort`
void Scene::on_ballot(const Line& line) {
    const Xid xid{line.word(1)};
    const Ballot ballot{std::stoul(line.option("round")), std::stoul(line.option("proposer"))};
    const TransactionRecord* record = nodes_[leader_].coordinator->state().find(xid);
    const std::string capability =
        line.option("capability", record == nullptr ? "" : record->begin.capability);
    if (line.word(0) == "promise") {
        request(line, PromiseRequest{xid, ballot, capability});
    } else {
        request(line, AcceptRequest{xid, ballot,
                                    line.option("value") == "commit" ? Outcome::committed
                                                                     : Outcome::aborted,
                                    capability});
    }
}

void Scene::on_retry(const Line& line) {
    request(line, RetryRequest{Xid{line.word(1)}, "ops", "now"});
}

void Scene::on_forget(const Line& line) {
    nodes_[target(line)].coordinator->forget_request(
        RequestToken{std::stoul(line.word(1).substr(1))});
}

// ---------------------------------------------------------------------------------- participants

/// `answer <participant> <xid> <what>`: the oldest call that has no answer yet.
void Scene::on_answer(const Line& line) {
    const std::string& what = line.word(3);
    for (std::size_t i = 0; i < calls_.size(); ++i) {
        const ParticipantCall& call = calls_[i].call;
        const std::string attempt = line.option("attempt", std::to_string(call.key.attempt));
        if (call.participant.value() != line.word(1) || call.key.xid.value() != line.word(2) ||
            std::to_string(call.key.attempt) != attempt) {
            continue;
        }
        CallResult result{call.key, CallResult::Unknown{"reset"}};
        const std::string reason = line.option("reason", "said no");
        if (what == "yes") {
            result.answer = CallResult::Voted{Vote::yes, {}};
        } else if (what == "no") {
            result.answer = CallResult::Voted{Vote::no, reason};
        } else if (what == "read_only") {
            result.answer = CallResult::Voted{Vote::read_only, {}};
        } else if (what == "done") {
            result.answer = CallResult::Done{};
        } else if (what == "refused") {
            result.answer = CallResult::Refused{reason};
        } else if (what == "later") {
            result.answer = CallResult::Later{duration_of(line.option("after", "100ms"))};
        } else if (what == "committed") {
            result.answer = CallResult::Decided{Outcome::committed};
        } else if (what == "aborted") {
            result.answer = CallResult::Decided{Outcome::aborted};
        } else if (what != "unknown") {
            throw std::runtime_error("unknown answer: " + what);
        }
        const std::size_t node = calls_[i].node;
        calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(i));
        nodes_[node].coordinator->call_result(std::move(result));
        return;
    }
    throw std::runtime_error("no such call: " + line.word(1) + " " + line.word(2));
}

void Scene::on_figures(const Line& line) {
    const CoordinatorFigures figures = nodes_[target(line)].coordinator->figures();
    tell("in flight " + std::to_string(figures.in_flight) + ", undecided " +
         std::to_string(figures.undecided) + ", undelivered " +
         std::to_string(figures.undelivered) + ", queued " + std::to_string(figures.queued_calls) +
         ", late " + std::to_string(figures.late_answers_dropped) + ", alarms " +
         std::to_string(figures.heuristic_alarms) + ", attention " +
         std::to_string(figures.needing_attention) + ", waiting " +
         std::to_string(figures.waiting_requests));
}

} // namespace concordat::golden
