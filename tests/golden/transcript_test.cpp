// Plays every transcript below tests/golden/transcripts and compares what the coordinators do with
// what the transcript says. UPDATE_GOLDEN=1 writes the transcripts anew.

#include "tests/golden/scene.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace concordat::golden {
namespace {

const std::filesystem::path folder =
    std::filesystem::path{CONCORDAT_SOURCE_DIR} / "tests/golden/transcripts";
constexpr const char* told_prefix = "    ";

std::vector<std::string> transcripts() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() == ".txt") {
            names.push_back(entry.path().stem().string());
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The transcript as it is played today: comments and events are kept, what follows is told anew.
std::string play(const std::string& transcript) {
    Scene scene;
    std::istringstream lines(transcript);
    std::string result;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(told_prefix)) {
            continue;
        }
        result += line + "\n";
        if (line.empty() || line.starts_with("#")) {
            continue;
        }
        for (const std::string& told : scene.play(line)) {
            result += told_prefix + told + "\n";
        }
    }
    return result;
}

class Transcript : public ::testing::TestWithParam<std::string> {};

// What the core does in the story is exactly what the transcript tells.
TEST_P(Transcript, is_as_recorded) {
    const auto path = folder / (GetParam() + ".txt");
    const std::string recorded = read(path);
    const std::string played = play(recorded);
    if (std::getenv("UPDATE_GOLDEN") != nullptr) {
        std::ofstream(path) << played;
        return;
    }
    EXPECT_EQ(played, recorded) << "run with UPDATE_GOLDEN=1 if the change is wanted";
}

INSTANTIATE_TEST_SUITE_P(Golden, Transcript, ::testing::ValuesIn(transcripts()),
                         [](const auto& played) { return played.param; });

// A moved or empty folder must not look like success.
TEST(Transcripts, are_all_found) {
    EXPECT_GE(transcripts().size(), 25U);
}

} // namespace
} // namespace concordat::golden
