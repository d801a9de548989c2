#include "participant-sdk/relay/lease_keeper.hpp"
#include "participant-sdk/relay/options.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace concordat::relay {
namespace {

const OptionSource servers{"kafka.bootstrap_servers", "b:9092", "test"};

std::string complaint(OptionSource source) {
    const auto loaded = load_options(std::vector<OptionSource>{servers, std::move(source)});
    return loaded ? "" : loaded.error().front();
}

TEST(RelayOptions, later_sources_win_and_are_remembered) {
    // default < file < environment < flag, each value with its origin.
    const auto loaded = load_options(std::vector<OptionSource>{
        servers, {"kafka.linger", "5ms", "file"}, {"kafka.linger", "7ms", "flag"}});
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->options.kafka.linger.count(), 7);
    EXPECT_EQ(loaded->origins.at("kafka.linger"), "flag");
    EXPECT_NE(print_options(*loaded).find("linger: \"7ms\" # flag"), std::string::npos);
}

TEST(RelayOptions, unknown_name_is_refused_with_the_nearest_one) {
    // A misspelt option must not be ignored.
    EXPECT_EQ(complaint({"kafka.lingr", "5ms", "relay.yaml line 3"}),
              "relay.yaml line 3: unknown option 'kafka.lingr'; the nearest is 'kafka.linger'");
}

TEST(RelayOptions, what_the_guarantees_rest_on_cannot_be_set) {
    // O5, O11: a message time-out makes holes, Kafka transactions are not used.
    for (const char* name : {"message.timeout.ms", "transactional.id", "enable.idempotence",
                             "enable.gapless.guarantee", "acks", "partitioner", "retries"}) {
        EXPECT_FALSE(complaint({std::string("kafka.properties.") + name, "1", "x"}).empty())
            << name;
    }
    EXPECT_EQ(complaint({"kafka.properties.client.rack", "a", "x"}), "");
}

TEST(RelayOptions, bad_values_name_what_is_expected) {
    // Each complaint says what would have been right.
    EXPECT_NE(complaint({"kafka.linger", "5", "x"}).find("a duration"), std::string::npos);
    EXPECT_NE(complaint({"pipeline.window_bytes", "5XB", "x"}).find("a size"), std::string::npos);
    EXPECT_NE(complaint({"http.port", "70000", "x"}).find("a port"), std::string::npos);
    EXPECT_NE(complaint({"policy.on_refused", "drop", "x"}).find("block or skip"),
              std::string::npos);
    EXPECT_NE(complaint({"lease.margin", "4s", "x"}).find("half of lease.duration"),
              std::string::npos);
    EXPECT_NE(complaint({"envelope.type_header", "id", "x"}).find("another header"),
              std::string::npos);
}

TEST(RelayOptions, all_complaints_come_at_once) {
    // One run of --check-config is enough.
    const auto loaded =
        load_options(std::vector<OptionSource>{{"a.b", "1", "x"}, {"http.port", "y", "x"}});
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().size(), 3U); // and kafka.bootstrap_servers is missing
}

TEST(RelayOptions, environment_uses_two_underscores_and_ignores_service_variables) {
    // Kubernetes sets CONCORDAT_RELAY_PORT for a service named so; that is no option.
    const char* environment[] = {"CONCORDAT_RELAY_KAFKA__LINGER=9ms",
                                 "CONCORDAT_RELAY_PORT=tcp://10.0.0.1:9464", "OTHER=1", nullptr};
    const auto sources = read_environment_options(environment);
    ASSERT_EQ(sources.size(), 1U);
    EXPECT_EQ(sources[0].name, "kafka.linger");
    EXPECT_EQ(sources[0].value, "9ms");
}

TEST(RelayOptions, file_sections_become_names_with_lines) {
    // The origin of a value is found again in the file.
    const std::string path = testing::TempDir() + "relay_options.yaml";
    std::ofstream(path) << "kafka:\n  linger: 3ms\npolicy:\n  topics:\n    order.placed: skip\n";
    const auto sources = read_file_options(path);
    ASSERT_TRUE(sources);
    ASSERT_EQ(sources->size(), 2U);
    EXPECT_EQ((*sources)[0].origin, path + " line 2");
    EXPECT_EQ((*sources)[1].name, "policy.topics.order.placed");
    EXPECT_FALSE(read_file_options(path + ".missing"));
}

TEST(RelayOptions, reference_page_lists_every_option_with_its_default) {
    // The table in the documentation and the one in the program must not drift apart.
    std::ifstream file(CONCORDAT_SOURCE_DIR "/docs/reference/relay-configuration.md");
    const std::string page((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    for (const OptionDescription& option : describe_options()) {
        const std::string line =
            "| `" + option.name + "` | " +
            (option.default_value.empty() ? std::string() : "`" + option.default_value + "`") +
            " | " + option.text + " |";
        EXPECT_NE(page.find(line), std::string::npos) << "missing line: " << line;
    }
}

TEST(LeaseShare, is_fair_and_covers_every_bucket) {
    // With any number of instances all buckets find an owner.
    for (std::size_t instances = 1; instances <= 100; ++instances) {
        EXPECT_GE(fair_share(instances) * instances, bucket_count);
        EXPECT_LE(fair_share(instances), bucket_count / instances + 1);
    }
}

} // namespace
} // namespace concordat::relay
