#include "tests/simulation/story_teller.hpp"

#include "tests/simulation/world.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <vector>

namespace concordat::simulation {
namespace {

struct Line {
    std::string time;
    std::string xid;
    std::string text; ///< actor, event, detail
};

Line parse(std::string_view line) {
    std::array<std::string, 5> fields;
    for (std::string& field : fields) {
        const std::size_t end = line.find('\t');
        field = line.substr(0, end);
        line = end == std::string_view::npos ? std::string_view{} : line.substr(end + 1);
    }
    Line parsed{fields[0], fields[1], fmt::format("{:<10} {}", fields[2], fields[3])};
    if (!fields[4].empty()) {
        parsed.text += " (" + fields[4] + ")";
    }
    return parsed;
}

/// Lines of one transaction, with what befell the world while it lasted.
std::string chapter(const std::vector<Line>& lines, const std::string& xid) {
    std::size_t first = lines.size();
    std::size_t last = 0;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].xid == xid) {
            first = std::min(first, i);
            last = i;
        }
    }
    std::string text = fmt::format("transaction {}\n", xid);
    for (std::size_t i = first; i < lines.size() && i <= last; ++i) {
        if (lines[i].xid == xid || lines[i].xid == "-") {
            text += fmt::format("  {:>8} ms  {}\n", lines[i].time, lines[i].text);
        }
    }
    return text;
}

constexpr std::array bug_names{
#define CONCORDAT_BUG_NAME(bug)                                                                    \
    std::pair<Bug, std::string_view> {                                                             \
        Bug::bug, #bug                                                                             \
    }
    CONCORDAT_BUG_NAME(none),
    CONCORDAT_BUG_NAME(disk_loses_what_it_confirmed),
    CONCORDAT_BUG_NAME(term_and_vote_not_durable),
    CONCORDAT_BUG_NAME(participant_forgets_prepared),
    CONCORDAT_BUG_NAME(participant_decides_by_timeout),
    CONCORDAT_BUG_NAME(participant_commits_unasked),
    CONCORDAT_BUG_NAME(acceptor_forgets),
    CONCORDAT_BUG_NAME(acceptor_ignores_promises),
    CONCORDAT_BUG_NAME(minority_terminates),
    CONCORDAT_BUG_NAME(termination_ignores_accepted),
    CONCORDAT_BUG_NAME(effect_applied_twice),
    CONCORDAT_BUG_NAME(snapshot_loses_transactions),
    CONCORDAT_BUG_NAME(entries_applied_early),
#undef CONCORDAT_BUG_NAME
};
static_assert(bug_names.size() == static_cast<std::size_t>(last_bug) + 1);

} // namespace

std::string tell_story(const StoryRequest& request) {
    std::vector<Line> lines;
    std::string end;
    try {
        World world(request.seed, request.bug,
                    [&](std::string_view line) { lines.push_back(parse(line)); });
        const Figures figures = world.run();
        end = fmt::format("the run ends well after {} ms: {} committed, {} aborted\n",
                          figures.simulated, figures.committed, figures.aborted);
    } catch (const Violation& violation) {
        end = fmt::format("violation: {}\n", violation.what());
    }
    if (request.xid) {
        return chapter(lines, *request.xid) + end;
    }
    std::vector<std::string> order; // of first appearance
    for (const Line& line : lines) {
        if (line.xid != "-" && std::ranges::find(order, line.xid) == order.end()) {
            order.push_back(line.xid);
        }
    }
    std::string text = fmt::format("seed {}\n", request.seed);
    for (const std::string& xid : order) {
        text += chapter(lines, xid);
    }
    return text + end;
}

std::string_view name_of(Bug bug) {
    return bug_names[static_cast<std::size_t>(bug)].second;
}

std::optional<Bug> bug_named(std::string_view name) {
    for (const auto& [bug, its_name] : bug_names) {
        if (its_name == name) {
            return bug;
        }
    }
    return std::nullopt;
}

} // namespace concordat::simulation
