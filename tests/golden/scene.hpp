#pragma once

// One transcript being played: some coordinator nodes, one log, calls waiting for their answers.
// Events are lines of text, see tests/golden/README.md; what the nodes do in reply is told as lines
// of text, too.

#include "coordinator/core/transaction_coordinator.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace concordat::golden {

/// `word word name=value …`
struct Line {
    std::vector<std::string> words;
    std::map<std::string, std::string> options;

    static Line parse(const std::string& text);
    [[nodiscard]] const std::string& word(std::size_t index) const;
    [[nodiscard]] std::string option(const std::string& name, std::string otherwise = {}) const;
    [[nodiscard]] bool has(const std::string& flag) const;
};

class Scene {
public:
    Scene();
    /// Plays one event and returns the lines that tell what followed.
    std::vector<std::string> play(const std::string& event);

private:
    struct Node {
        std::unique_ptr<core::TransactionCoordinator> coordinator;
        std::size_t applied = 0;
        bool paused = false;
    };
    struct Call {
        std::size_t node = 0;
        core::ParticipantCall call;
    };
    using Handler = void (Scene::*)(const Line&);

    // Events about nodes, time and the log.
    void on_nodes(const Line& line);
    void on_lead(const Line& line);
    void on_lose(const Line& line);
    void on_pause(const Line& line);
    void on_resume(const Line& line);
    void on_commit(const Line& line);
    void on_cut(const Line& line);
    void on_refuse(const Line& line);
    void on_advance(const Line& line);
    // Requests.
    void on_register(const Line& line);
    void on_remove(const Line& line);
    void on_begin(const Line& line);
    void on_enlist(const Line& line);
    void on_decide(const Line& line);
    void on_get(const Line& line);
    void on_list(const Line& line);
    void on_inquire(const Line& line);
    void on_retry(const Line& line);
    void on_ballot(const Line& line);
    void on_forget(const Line& line);
    // Participants and looking.
    void on_answer(const Line& line);
    void on_figures(const Line& line);
    void on_timeline(const Line& line);

    void turn(std::size_t node);
    void apply_committed(std::size_t node);
    void request(const Line& line, core::ClientRequest request);
    [[nodiscard]] std::size_t target(const Line& line) const;
    void tell(std::string text);
    [[nodiscard]] std::string node_prefix(std::size_t node) const;

    std::map<std::string, Handler> handlers_;
    std::vector<Node> nodes_;
    std::size_t leader_ = 0;
    std::vector<std::vector<core::Command>> log_;
    std::size_t committed_ = 0;
    bool refuse_next_ = false;
    bool refuse_with_loss_ = false;
    core::Instant now_{};
    core::WallTime wall_{};
    std::vector<Call> calls_;
    std::uint64_t last_token_ = 0;
    std::vector<std::string> told_;
};

/// Texts of the transcript.
[[nodiscard]] std::string text_of(const core::Command& command);
[[nodiscard]] std::string text_of(const core::ParticipantCall& call);
[[nodiscard]] std::string text_of(const core::Reply& reply);
[[nodiscard]] core::Duration duration_of(const std::string& text);

} // namespace concordat::golden
