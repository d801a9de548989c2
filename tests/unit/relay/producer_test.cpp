#include "participant-sdk/relay/producer.hpp"

#include <gtest/gtest.h>

namespace concordat::relay {
namespace {

TEST(Fault, sorts_errors_by_what_has_to_be_done) {
    // A record's own fault is dead-lettered, a topic's is waited for, the rest needs a new
    // producer.
    EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_NO_ERROR), Fault::none);
    EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), Fault::record);
    EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_INVALID_RECORD), Fault::record);
    EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), Fault::topic);
    EXPECT_EQ(classify(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), Fault::topic);
    for (const auto code :
         {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, RD_KAFKA_RESP_ERR__FATAL,
          RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT}) {
        EXPECT_EQ(classify(code), Fault::producer) << rd_kafka_err2name(code);
    }
}

TEST(ProducerSettings, hold_what_the_guarantees_rest_on) {
    // O4, O5, O11 to O13: each is a setting, and a default of librdkafka that would break a
    // promise.
    Options::Kafka options;
    options.bootstrap_servers = "127.0.0.1:1";
    const auto settings = producer_settings(options, 16'000);
    EXPECT_EQ(settings.at("enable.idempotence"), "true");
    EXPECT_EQ(settings.at("enable.gapless.guarantee"), "true");
    EXPECT_EQ(settings.at("message.timeout.ms"), "0");
    EXPECT_EQ(settings.at("partitioner"), "murmur2_random");
    EXPECT_EQ(settings.count("transactional.id"), 0);
    EXPECT_EQ(settings.count("acks"), 0) << "idempotence implies all";
    EXPECT_GT(std::stoul(settings.at("queue.buffering.max.messages")), 16'000);
}

TEST(KafkaConfiguration, refuses_an_unknown_property_by_name) {
    // The operator's free properties are checked before anything starts.
    Options::Kafka options;
    options.bootstrap_servers = "127.0.0.1:1";
    options.properties["no.such.property"] = "1";
    const auto made = make_kafka_configuration(options);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().find("no.such.property"), std::string::npos);
}

} // namespace
} // namespace concordat::relay
