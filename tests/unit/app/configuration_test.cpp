#include "coordinator/app/configuration.hpp"
#include "coordinator/app/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace concordat::app {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

/// A YAML file that lives as long as the test.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& content)
        : path_(std::filesystem::temp_directory_path() /
                ("concordat-configuration-" + std::to_string(getpid()) + ".yaml")) {
        std::ofstream(path_) << content;
    }
    ~TemporaryFile() { std::filesystem::remove(path_); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    [[nodiscard]] std::string path() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

ConfigurationSources with_data(ConfigurationSources sources = {}) {
    sources.flags.emplace_back("node.data_directory", "data");
    return sources;
}

std::vector<std::string> errors_of(const ConfigurationSources& sources) {
    const auto values = collect(sources);
    if (!values) {
        return values.error().messages;
    }
    const auto resolved = resolve(*values);
    return resolved ? std::vector<std::string>{} : resolved.error().messages;
}

TEST(Configuration, resolves_defaults_when_only_the_data_directory_is_given) {
    // Purpose: a single node needs nothing but a place for its log.
    const auto values = collect(with_data());
    ASSERT_TRUE(values);
    const auto configuration = resolve(*values);
    ASSERT_TRUE(configuration);
    EXPECT_EQ(configuration->node, core::NodeId{1});
    EXPECT_EQ(configuration->server.port, 8700);
    EXPECT_EQ(configuration->server.body_limit_bytes, 256U << 10);
    EXPECT_EQ(configuration->transactions.default_timeout, std::chrono::seconds{30});
    ASSERT_EQ(configuration->log.members.size(), 1U);
    EXPECT_EQ(configuration->log.members[0].id, core::NodeId{1});
}

TEST(Configuration, ranks_flag_over_environment_over_file_over_default) {
    // Purpose: the documented order of sources, and that each value remembers its source.
    const TemporaryFile file(
        "api:\n  body_limit: 1MiB\n  idle_timeout: 7s\n  header_limit: 4KiB\n");
    ConfigurationSources sources = with_data();
    sources.file = file.path();
    sources.environment = {"CONCORDAT_API__BODY_LIMIT=2MiB", "CONCORDAT_API__IDLE_TIMEOUT=8s"};
    sources.flags.emplace_back("api.body_limit", "3MiB");
    const auto values = collect(sources);
    ASSERT_TRUE(values);
    EXPECT_EQ(values->at("api.body_limit").text, "3MiB");
    EXPECT_EQ(values->at("api.body_limit").source, "flag");
    EXPECT_EQ(values->at("api.idle_timeout").source, "environment");
    EXPECT_EQ(values->at("api.header_limit").source, file.path() + ":4");
    EXPECT_EQ(values->at("api.max_connections").source, "default");
}

TEST(Configuration, names_line_and_nearest_key_when_a_key_is_unknown) {
    // Purpose: a typing error in the file is found with its place and a proposal.
    const TemporaryFile file("api:\n  body_limits: 1MiB\n");
    ConfigurationSources sources = with_data();
    sources.file = file.path();
    EXPECT_THAT(errors_of(sources),
                ElementsAre(testing::AllOf(HasSubstr(":2: unknown setting 'api.body_limits'"),
                                           HasSubstr("'api.body_limit'"))));
}

TEST(Configuration, refuses_unknown_environment_variables_of_its_prefix) {
    // Purpose: a misspelt environment variable must not be ignored silently.
    ConfigurationSources sources = with_data();
    sources.environment = {"CONCORDAT_API__BODYLIMIT=1", "CONCORDAT_SERVER=http://x",
                           "CONCORDAT_RELAY_DATABASE__URL=x", "PATH=/bin"};
    EXPECT_THAT(errors_of(sources), ElementsAre(HasSubstr("CONCORDAT_API__BODYLIMIT")));
}

TEST(Configuration, reports_all_errors_at_once) {
    // Purpose: an operator mends everything in one go.
    ConfigurationSources sources;
    sources.flags = {{"api.body_limit", "many"}, {"node.id", "0"}, {"log.fsync", "perhaps"}};
    const auto errors = errors_of(sources);
    EXPECT_EQ(errors.size(), 4U); // with the missing data directory
    EXPECT_THAT(errors, Contains(HasSubstr("node.data_directory")));
}

TEST(Configuration, refuses_a_listener_off_loopback_without_tls_unless_insecure) {
    // Purpose: nobody opens an unauthenticated coordinator to a network by accident.
    ConfigurationSources sources = with_data();
    sources.flags.emplace_back("api.listen", "0.0.0.0:8700");
    EXPECT_THAT(errors_of(sources), ElementsAre(HasSubstr("api.listen")));
    sources.flags.emplace_back("api.insecure", "true");
    EXPECT_TRUE(errors_of(sources).empty());
}

TEST(Configuration, checks_members_against_each_other) {
    // Purpose: even sizes, double ids and a missing self are refused before a log is written.
    ConfigurationSources sources = with_data();
    sources.flags.emplace_back("node.members", "2,a:1,http://a:2;2,b:1,http://b:2");
    const auto errors = errors_of(sources);
    EXPECT_THAT(errors, Contains(HasSubstr("stands twice")));
    EXPECT_THAT(errors, Contains(HasSubstr("is not among them")));
    EXPECT_THAT(errors, Contains(HasSubstr("even number")));
    EXPECT_THAT(errors, Contains(HasSubstr("log.peer_listen")));
}

TEST(Configuration, reads_members_as_a_list_of_maps_in_yaml) {
    // Purpose: the form that a Helm chart renders.
    const TemporaryFile file("node:\n  id: 2\n  members:\n"
                             "    - {id: 1, peer_address: 'a:1', api_url: 'http://a:2'}\n"
                             "    - {id: 2, peer_address: 'b:1', api_url: 'http://b:2'}\n"
                             "    - {id: 3, peer_address: 'c:1', api_url: 'http://c:2'}\n"
                             "log:\n  peer_listen: 127.0.0.1:0\n");
    ConfigurationSources sources = with_data();
    sources.file = file.path();
    const auto values = collect(sources);
    ASSERT_TRUE(values);
    const auto configuration = resolve(*values);
    ASSERT_TRUE(configuration) << configuration.error().messages[0];
    ASSERT_EQ(configuration->members.size(), 3U);
    EXPECT_EQ(configuration->members[2].peer_address, "c:1");
    EXPECT_EQ(configuration->members[2].api_url, "http://c:2");
}

TEST(Configuration, sample_and_printed_configuration_are_valid_files) {
    // Purpose: what the program prints can be given back to it without a change of meaning.
    const TemporaryFile file(sample());
    ConfigurationSources sources = with_data();
    sources.file = file.path();
    const auto values = collect(sources);
    ASSERT_TRUE(values) << values.error().messages[0];
    for (const auto& setting : settings()) {
        if (setting.key != "node.data_directory") {
            EXPECT_EQ(values->at(std::string(setting.key)).text, setting.fallback) << setting.key;
        }
    }
    EXPECT_THAT(print(*values), HasSubstr("# from flag\n  data_directory: \"data\""));
}

TEST(Configuration, documented_sample_equals_the_table) {
    // Purpose: docs/reference/concordatd.yaml is what `concordatd --sample-config` prints.
    std::ifstream file(std::string(CONCORDAT_SOURCE_DIR) + "/docs/reference/concordatd.yaml");
    const std::string documented{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(documented, sample());
}

TEST(Configuration, parses_durations_and_sizes_strictly) {
    // Purpose: units are required for durations, and nonsense is refused rather than guessed.
    EXPECT_EQ(parse_duration("250ms"), std::chrono::milliseconds{250});
    EXPECT_EQ(parse_duration("2m"), std::chrono::minutes{2});
    for (const auto* const wrong : {"", "5", "-5s", "5 s", "5d", "99999999999s", "s"}) {
        EXPECT_FALSE(parse_duration(wrong)) << wrong;
    }
    EXPECT_EQ(parse_size("64MiB"), 64UL << 20);
    EXPECT_EQ(parse_size("512"), 512U);
    for (const auto* const wrong : {"", "-1", "64MB", "1.5GiB", "99999999GiB"}) {
        EXPECT_FALSE(parse_size(wrong)) << wrong;
    }
    EXPECT_EQ(parse_host_port("[::1]:80")->host, "::1");
    for (const auto* const wrong : {"host", ":80", "host:", "host:x", "::1:80", "host:70000"}) {
        EXPECT_FALSE(parse_host_port(wrong)) << wrong;
    }
}

} // namespace
} // namespace concordat::app
