#include "tests/simulation/mutants/hunt.hpp"

#include "tests/simulation/mutants/active.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <list>
#include <stdexcept>
#include <string_view>

namespace concordat::mutants {
namespace {

using Clock = std::chrono::steady_clock;

constexpr rlim_t memory_bytes = rlim_t{2} << 30U;
constexpr rlim_t stuck_seconds = 10; ///< of one run, which needs less than a tenth of a second
constexpr std::string_view assertion_text = "assertion failed: ";
constexpr int poll_milliseconds = 100;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

/// One mutant, or none, over consecutive seeds, in a process of its own. The process tells through
/// a pipe what it is about; whatever else comes through it is what the dying process printed.
class Hunter {
public:
    Hunter(int number, Scene scene, std::uint64_t runs, bool survey)
        : number_(number), scene_(scene), runs_(runs), survey_(survey) {
        int ends[2];
        if (::pipe(ends) != 0) {
            throw std::runtime_error("pipe: " + std::string{std::strerror(errno)});
        }
        process_ = ::fork();
        if (process_ < 0) {
            throw std::runtime_error("fork: " + std::string{std::strerror(errno)});
        }
        if (process_ == 0) {
            ::close(ends[0]);
            hunt_here(ends[1]);
        }
        ::close(ends[1]);
        pipe_ = ends[0];
    }
    Hunter(const Hunter&) = delete;
    Hunter& operator=(const Hunter&) = delete;
    ~Hunter() {
        ::close(pipe_);
        if (!finished_) {
            ::kill(process_, SIGKILL);
            ::waitpid(process_, nullptr, 0);
        }
    }

    [[nodiscard]] int number() const { return number_; }
    [[nodiscard]] int pipe() const { return pipe_; }
    [[nodiscard]] bool is_finished() const { return finished_; }
    [[nodiscard]] const Catch& result() const { return result_; }

    /// Something is in the pipe, or its other end is closed.
    void read() {
        char buffer[4096];
        const auto count = ::read(pipe_, buffer, sizeof buffer);
        if (count > 0) {
            text_.append(buffer, static_cast<std::size_t>(count));
            take_lines();
        } else {
            end();
        }
    }

    void look_at_the_clock(const HuntLimits& limits) {
        if (!finished_ && seconds_since(started_) >= limits.seconds) {
            ::kill(process_, SIGKILL);
        }
    }

private:
    [[noreturn]] void hunt_here(int pipe) const {
        ::dup2(pipe, STDERR_FILENO); // for the text of an assertion
        const rlimit no_core{0, 0};
        const rlimit memory{memory_bytes, memory_bytes};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::setrlimit(RLIMIT_AS, &memory);
        active = number_;
        for (std::uint64_t seed = 1; seed <= runs_; ++seed) {
            tell(pipe, "@run " + std::to_string(seed));
            limit_processor_time();
            try {
                run_scene(scene_, seed);
            } catch (const std::exception& violation) {
                tell(pipe, "@caught " + first_line(violation.what()));
                if (!survey_) {
                    break;
                }
            }
        }
        ::_exit(0);
    }

    /// A busy machine must not make a run look stuck, so what counts is the processor's time.
    static void limit_processor_time() {
        const auto used = static_cast<rlim_t>(std::clock() / CLOCKS_PER_SEC);
        const rlimit processor{used + stuck_seconds, RLIM_INFINITY};
        ::setrlimit(RLIMIT_CPU, &processor);
    }

    static void tell(int pipe, const std::string& line) {
        const std::string text = line + "\n";
        if (::write(pipe, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
            ::_exit(3);
        }
    }

    void take_lines() {
        for (auto end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
            const std::string line = text_.substr(0, end);
            text_.erase(0, end + 1);
            if (line.starts_with("@run ")) {
                seed_ = std::strtoull(line.c_str() + 5, nullptr, 10);
                ++result_.runs;
            } else if (line.starts_with("@caught ")) {
                caught(line.substr(8));
            } else {
                last_words_ = line;
            }
        }
    }

    void end() {
        int status = 0;
        ::waitpid(process_, &status, 0);
        finished_ = true;
        result_.seconds = seconds_since(started_);
        if (!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL || result_.caught) {
            return;
        }
        const auto assertion = last_words_.find(assertion_text);
        if (WTERMSIG(status) == SIGXCPU) {
            caught("stuck: a run did not end");
        } else if (assertion != std::string::npos) {
            caught("assertion: " + last_words_.substr(assertion + assertion_text.size()));
        } else {
            caught("signal " + std::to_string(WTERMSIG(status)) + ": " + last_words_);
        }
    }

    void caught(std::string what) {
        if (survey_) {
            std::printf("%d\t%llu\t%s\n", number_, static_cast<unsigned long long>(seed_),
                        what.c_str());
        }
        if (!result_.caught) {
            result_.caught = true;
            result_.what = std::move(what);
            result_.seed = seed_;
        }
    }

    int number_;
    Scene scene_;
    std::uint64_t runs_;
    bool survey_;
    int pipe_ = -1;
    pid_t process_ = -1;
    Clock::time_point started_ = Clock::now();
    std::string text_;
    std::string last_words_;
    std::uint64_t seed_ = 0;
    bool finished_ = false;
    Catch result_;
};

/// Until at least one of them has something to say.
void wait_for_news(std::list<Hunter>& hunters, const HuntLimits& limits) {
    std::vector<pollfd> pipes;
    for (const Hunter& hunter : hunters) {
        pipes.push_back({hunter.pipe(), POLLIN, 0});
    }
    ::poll(pipes.data(), pipes.size(), poll_milliseconds);
    auto hunter = hunters.begin();
    for (const pollfd& pipe : pipes) {
        if (pipe.revents != 0) {
            hunter->read();
        }
        hunter->look_at_the_clock(limits);
        ++hunter;
    }
}

} // namespace

std::map<int, Catch> hunt(const std::vector<const Mutant*>& mutants, const HuntLimits& limits,
                          const std::function<void(const Mutant&, const Catch&)>& report) {
    std::map<int, Catch> results;
    std::list<Hunter> hunters;
    auto next = mutants.begin();
    while (next != mutants.end() || !hunters.empty()) {
        while (next != mutants.end() && hunters.size() < limits.jobs) {
            hunters.emplace_back((*next)->number, (*next)->scene,
                                 limits.survey > 0 ? limits.survey : limits.runs,
                                 limits.survey > 0);
            ++next;
        }
        wait_for_news(hunters, limits);
        std::erase_if(hunters, [&](const Hunter& hunter) {
            if (hunter.is_finished()) {
                results[hunter.number()] = hunter.result();
                report(*std::ranges::find(all_mutants(), hunter.number(), &Mutant::number),
                       hunter.result());
            }
            return hunter.is_finished();
        });
    }
    return results;
}

Catch run_clean(Scene scene, std::uint64_t count, const HuntLimits& limits) {
    HuntLimits patient = limits;
    patient.seconds = 10 * limits.seconds;
    std::list<Hunter> hunters;
    hunters.emplace_back(0, scene, count, false);
    while (!hunters.front().is_finished()) {
        wait_for_news(hunters, patient);
    }
    return hunters.front().result();
}

std::string outcome_of(const Mutant& mutant, std::uint64_t seed) {
    active = mutant.number;
    try {
        run_scene(mutant.scene, seed);
    } catch (const std::exception& violation) {
        return violation.what();
    }
    return {};
}

} // namespace concordat::mutants
