#include "coordinator/app/node.hpp"

#include "coordinator/app/logging.hpp"
#include "coordinator/app/version.hpp"
#include "coordinator/http/api.hpp"
#include "coordinator/http/participant_caller.hpp"
#include "participant-sdk/src/transport/client.hpp"
#include "participant-sdk/src/transport/io_threads.hpp"
#include "participant-sdk/src/transport/server.hpp"

#include <fmt/format.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

namespace concordat::app {

namespace {

std::string_view name_of(log::Role role) {
    switch (role) {
    case log::Role::follower:
        return "follower";
    case log::Role::candidate:
        return "candidate";
    case log::Role::leader:
        return "leader";
    }
    return "follower";
}

core::CoordinatorOptions with_seed(core::CoordinatorOptions options) {
    std::random_device device;
    options.seed = (static_cast<std::uint64_t>(device()) << 32) | device();
    return options;
}

std::optional<core::LogIndex> match_index(const log::Status& status, core::NodeId node) {
    for (const auto& [peer, index] : status.peers) {
        if (peer == node) {
            return index;
        }
    }
    return std::nullopt;
}

http::ClusterView view_of(const Configuration& configuration, const log::Status& status,
                          const core::ReplicatedState& state, bool serving) {
    http::ClusterView view;
    view.cluster_name = configuration.cluster_name;
    view.self = configuration.node;
    view.role = name_of(status.role);
    view.leader = status.leader;
    view.leader_is_serving = serving;
    view.term = status.term;
    view.epoch = state.epoch();
    view.last_index = status.last_index;
    view.commit_index = status.commit_index;
    view.applied_index = status.applied_index;
    view.snapshot_index = status.snapshot_index;
    view.replayed = status.replayed;
    view.version = version;
    for (const auto& member : configuration.members) {
        view.nodes.push_back({member.id, member.api_url, member.peer_address,
                              member.id == configuration.node, status.leader == member.id,
                              match_index(status, member.id)});
    }
    if (view.nodes.empty()) {
        view.nodes.push_back({configuration.node, "", "", true, status.leader == configuration.node,
                              status.last_index});
    }
    return view;
}

std::expected<http::AccessTable, std::string> load_access(const std::string& path) {
    if (path.empty()) {
        return http::AccessTable{};
    }
    std::ifstream file(path);
    if (!file) {
        return std::unexpected(path + " cannot be read");
    }
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    auto table = http::AccessTable::parse(text);
    if (table && table->is_open()) {
        // A file without callers is a mistake, not the wish to let everybody in.
        return std::unexpected(path + " names no caller");
    }
    return table;
}

} // namespace

Node::Node(Configuration configuration)
    : configuration_(std::move(configuration)), published_(std::make_shared<Published>()) {}

Node::~Node() {
    static_cast<void>(stop());
}

std::expected<void, std::string> Node::start() {
    threads_ = std::make_unique<transport::IoThreads>(configuration_.io_threads, "io");
    threads_->start();
    loop_ = std::make_unique<CoreLoop>(with_seed(configuration_.transactions),
                                       configuration_.max_queued_requests,
                                       static_cast<CoreObserver&>(*this));
    caller_ = std::make_unique<http::ParticipantCaller>(
        *threads_, configuration_.participants,
        [this](std::vector<core::CallResult> results) { loop_->results(std::move(results)); });

    auto opened =
        log::DecisionLog::open(configuration_.log, *loop_, [this](std::function<void()> function) {
            loop_->post(std::move(function));
        });
    if (!opened) {
        return std::unexpected(opened.error().message);
    }
    log_ = std::move(*opened);

    http::ApiOptions api_options;
    if (auto access = load_access(configuration_.access_file)) {
        api_options.access = std::move(*access);
    } else {
        return std::unexpected("api.access_file: " + access.error());
    }
    api_ = std::make_unique<http::Api>(*this, std::move(api_options), *threads_);
    server_ = std::make_unique<transport::Server>(
        *threads_, configuration_.server,
        [this](transport::Request&& request, transport::Responder responder) {
            api_->handle(std::move(request), std::move(responder));
        },
        [](const transport::ProtocolError& error) { return http::problem_for(error); });
    if (auto listening = server_->start(); !listening) {
        return std::unexpected("api.listen: " + listening.error());
    }
    loop_->start(*log_);
    return {};
}

bool Node::stop() {
    if (!server_ || !loop_) {
        return true;
    }
    drain();
    const auto deadline = std::chrono::steady_clock::now() + configuration_.drain_deadline;
    const auto remaining = [deadline] {
        const auto left = deadline - std::chrono::steady_clock::now();
        return std::max(std::chrono::milliseconds{0},
                        std::chrono::duration_cast<std::chrono::milliseconds>(left));
    };
    // Requests in flight are answered while the core still runs; what remains is the next leader's.
    server_->stop(remaining());
    const bool clean = remaining().count() > 0;
    loop_->stop();
    caller_->stop();
    log_->stop();
    api_.reset();
    server_.reset();
    threads_->stop();
    return clean;
}

std::uint16_t Node::api_port() const {
    return server_->port();
}

std::optional<core::RequestToken> Node::submit(core::ClientRequest request, ReplyHandler handler) {
    return loop_->submit(std::move(request), std::move(handler));
}

void Node::forget(core::RequestToken token) {
    loop_->forget(token);
}

std::shared_ptr<const Node::Published> Node::published() const {
    const std::lock_guard lock(published_mutex_);
    return published_;
}

http::ClusterView Node::cluster() const {
    auto view = published()->cluster;
    view.draining = draining_.load();
    return view;
}

std::string Node::metrics() const {
    const auto current = published();
    NodeFigures figures;
    figures.log = current->log;
    figures.transactions = current->transactions;
    figures.serving = current->serving;
    figures.calls = caller_->figures();
    figures.server = server_->statistics();
    figures.queued_requests = loop_->queued_requests();
    figures.queue_limit = configuration_.max_queued_requests;
    figures.rejected_requests = loop_->rejected_requests();
    figures.version = version;
    return render_metrics(figures);
}

bool Node::transfer_leadership(std::optional<core::NodeId> to, std::string who, std::string why,
                               std::string& why_not) {
    const auto current = published();
    if (current->log.role != log::Role::leader) {
        why_not = "this node is not the leader";
        return false;
    }
    if (configuration_.members.size() < 2) {
        why_not = "there is no other node to hand leadership to";
        return false;
    }
    core::OperatorAction audit;
    audit.who = std::move(who);
    audit.why = std::move(why);
    audit.action = "cluster.transfer";
    audit.object = to ? std::to_string(to->value()) : "any";
    audit.at =
        std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
    loop_->transfer(to, std::move(audit));
    return true;
}

void Node::drain() {
    if (draining_.exchange(true)) {
        return;
    }
    log_event(LogLevel::info, "draining");
    std::string why_not;
    if (!transfer_leadership(std::nullopt, "node", "drain", why_not)) {
        log_event(LogLevel::debug, "no_hand_over", {{"reason", why_not}});
    }
}

std::uint64_t Node::subscribe(std::function<void(const std::string& event_json)> sink) {
    return events_.subscribe(std::move(sink));
}

void Node::unsubscribe(std::uint64_t id) {
    events_.unsubscribe(id);
}

void Node::send(std::vector<core::ParticipantCall> calls) {
    caller_->call(std::move(calls));
}

void Node::publish(const log::Status& status, const core::CoordinatorFigures& figures,
                   const core::ReplicatedState& state, bool serving) {
    auto next = std::make_shared<Published>();
    next->cluster = view_of(configuration_, status, state, serving);
    next->log = status;
    next->transactions = figures;
    next->serving = serving;
    announce_role(status, serving);
    const std::lock_guard lock(published_mutex_);
    published_ = std::move(next);
}

void Node::announce_role(const log::Status& status, bool serving) {
    const auto leader = status.leader ? std::to_string(status.leader->value()) : "none";
    auto role = fmt::format("{} leader={} serving={}", name_of(status.role), leader, serving);
    if (role != announced_role_) {
        announced_role_ = std::move(role);
        log_event(LogLevel::info, "role",
                  {{"role", std::string(name_of(status.role))},
                   {"leader", leader},
                   {"term", std::to_string(status.term)},
                   {"serving", serving ? "true" : "false"}});
    }
}

void Node::applied(core::LogIndex index, const core::Command& command) {
    events_.publish(index, command);
}

bool Node::wants_applied() const {
    return events_.has_subscribers();
}

} // namespace concordat::app
