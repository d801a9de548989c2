#include "coordinator/log/command_codec.hpp"
#include "coordinator/log/crc32c.hpp"
#include "coordinator/log/log_format.hpp"
#include "coordinator/log/peer_codec.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

namespace concordat::log::test {
namespace {

core::SharedBytes bytes_of(std::string text) {
    return std::make_shared<const std::string>(std::move(text));
}

core::Begin sample_begin() {
    core::Begin begin;
    begin.xid = core::Xid{"order-4711"};
    begin.protocol = core::Protocol::three_phase;
    begin.mode = core::Mode::interactive;
    begin.branches = {{core::ParticipantName{"orders"}, bytes_of("{\"a\": 1}"), std::nullopt},
                      {core::ParticipantName{"stock"}, bytes_of(""), core::Duration{1234}}};
    begin.timeout = std::chrono::seconds{30};
    begin.digest = std::string("\x00\xff\x80 digest", 10);
    begin.idempotency_key = "key";
    begin.traceparent = "00-abc";
    begin.metadata = {{"k", "v"}, {"k2", ""}};
    begin.created_at = core::WallTime{std::chrono::milliseconds{1'700'000'000'123}};
    begin.capability = std::string("\x01\x02\x00", 3);
    return begin;
}

core::Decide sample_decide() {
    return {core::Xid{"order-4711"},
            core::Outcome::aborted,
            core::DecisionReason::participants_terminated,
            "because",
            {core::BranchNumber{1}, core::BranchNumber{65535}},
            core::WallTime{std::chrono::milliseconds{-5}}};
}

TEST(CommandCodec, gives_every_kind_of_command_back_unchanged) {
    // The encoding of the result is compared, so every field counts.
    const std::vector<core::Command> commands{
        sample_begin(),
        core::Enlist{core::Xid{"x"}, {core::ParticipantName{"p"}, bytes_of("1"), {}}, {}},
        core::Precommit{core::Xid{"x"}, {}},
        sample_decide(),
        core::End{core::Xid{"x"}, core::WallTime{std::chrono::milliseconds{1}}},
        core::LeaderEpoch{core::NodeId{7}, 0xffff'ffff'ffff'fff1U},
        core::ReadBarrier{},
        core::PutParticipant{core::ParticipantName{"p"}, {"http://p:1", "tls", {}, 9}},
        core::RemoveParticipant{core::ParticipantName{"p"}},
        core::OperatorAction{"who", "action", "object", "why", {}},
        core::Promise{core::Xid{"x"}, {3, 2}, {}},
        core::Accept{core::Xid{"x"}, {3, 2}, core::Outcome::aborted, {}}};
    static_assert(std::variant_size_v<core::Command> == 12, "add the new kind of command here");
    const std::string bytes = encode_commands(commands);
    EXPECT_EQ(bytes.size() % 8, 0U);
    const auto decoded = decode_commands(bytes);
    ASSERT_TRUE(decoded) << decoded.error();
    ASSERT_EQ(decoded->size(), commands.size());
    EXPECT_EQ(encode_commands(*decoded), bytes);
    const auto& begin = std::get<core::Begin>(decoded->front());
    EXPECT_EQ(begin.digest, sample_begin().digest);
    EXPECT_EQ(begin.branches[1].call_timeout, core::Duration{1234});
    EXPECT_EQ(begin.branches[0].call_timeout, std::nullopt);
    EXPECT_EQ(*begin.branches[0].payload, "{\"a\": 1}");
    EXPECT_EQ(begin.metadata, sample_begin().metadata);
    EXPECT_EQ(begin.created_at, sample_begin().created_at);
    const auto& decide = std::get<core::Decide>(decoded->at(3));
    EXPECT_EQ(decide.without_effect, sample_decide().without_effect);
    EXPECT_EQ(decide.at, sample_decide().at);
    EXPECT_EQ(std::get<core::LeaderEpoch>(decoded->at(5)).nonce, 0xffff'ffff'ffff'fff1U);
}

TEST(CommandCodec, refuses_a_command_it_does_not_know) {
    // A newer node's command must stop an older one before it applies anything (C18).
    std::string bytes = encode_commands(std::vector<core::Command>{core::ReadBarrier{}});
    ASSERT_EQ(bytes.substr(8, 4), (std::string{0x0a, 0x02, 0x3a, 0x00}));
    bytes[10] = static_cast<char>(0x7a); // the same content as a kind of command numbered 15
    const auto decoded = decode_commands(bytes);
    ASSERT_FALSE(decoded);
    EXPECT_NE(decoded.error().find("newer version"), std::string::npos);
}

TEST(CommandCodec, reads_texts_that_are_not_utf_8) {
    // A refusal's reason comes from a participant; an unreadable entry would stop every node.
    core::Decide decide = sample_decide();
    decide.detail = "\xff\xfe\x80 not UTF-8";
    const auto decoded = decode_commands(encode_commands(std::vector<core::Command>{decide}));
    ASSERT_TRUE(decoded) << decoded.error();
    EXPECT_EQ(std::get<core::Decide>(decoded->front()).detail, decide.detail);
}

TEST(CommandCodec, refuses_an_enumerator_it_does_not_know) {
    // A reason or outcome that does not exist here must not be taken for another one.
    core::Decide decide = sample_decide();
    decide.outcome = static_cast<core::Outcome>(9);
    EXPECT_FALSE(decode_commands(encode_commands(std::vector<core::Command>{decide})));
}

TEST(CommandCodec, survives_arbitrary_bytes) {
    // Damage is caught by checksums before, but a decoder must not depend on that.
    const std::string good = encode_commands(std::vector<core::Command>{sample_begin()});
    std::mt19937_64 random{1};
    for (int i = 0; i < 20'000; ++i) {
        std::string bad = good;
        for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
            bad[random() % bad.size()] = static_cast<char>(random());
        }
        bad.resize(random() % (bad.size() + 1));
        static_cast<void>(decode_commands(bad));
        static_cast<void>(decode_snapshot(bad));
    }
    EXPECT_TRUE(decode_commands(good));
}

TEST(CommandCodec, gives_a_snapshot_back_unchanged) {
    // Every field of the replicated state.
    core::SnapshotContent content;
    content.applied_index = core::LogIndex{10};
    content.epoch = core::Epoch{4};
    content.leader = core::NodeId{3};
    content.closed_below = core::LogIndex{5};
    core::TransactionRecord record;
    record.begin = sample_begin();
    record.state = core::TransactionState::committing;
    record.decision = sample_decide();
    record.begun_index = core::LogIndex{5};
    record.changed_index = core::LogIndex{6};
    record.precommitted_at = core::WallTime{};
    content.transactions = {record, record};
    content.transactions[1].decision.reset();
    content.transactions[1].precommitted_at.reset();
    content.transactions[1].finished_at = core::WallTime{std::chrono::milliseconds{9}};
    content.finished_order = {core::Xid{"a"}, core::Xid{"b"}};
    content.participants = {{core::ParticipantName{"p"}, {"http://p", "", {}, 3}}};
    content.idempotency = {{"key", "digest", core::Xid{"a"}}};
    content.audit = {{core::LogIndex{2}, {"who", "did", "what", "why", {}}}};
    const std::string bytes = encode_snapshot(content);
    const auto decoded = decode_snapshot(bytes);
    ASSERT_TRUE(decoded) << decoded.error();
    EXPECT_EQ(decoded->transactions.size(), 2U);
    EXPECT_FALSE(decoded->transactions[1].decision);
    EXPECT_TRUE(decoded->transactions[0].precommitted_at);
    EXPECT_EQ(decoded->transactions[1].finished_at, content.transactions[1].finished_at);
    EXPECT_EQ(decoded->participants, content.participants);
    EXPECT_EQ(encode_snapshot(*decoded), bytes);
    EXPECT_FALSE(decode_commands(bytes)) << "a snapshot is no entry";
}

TEST(Crc32c, matches_published_values) {
    // RFC 3720, appendix B.4.
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
    EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
    EXPECT_EQ(crc32c("456789", crc32c("123")), crc32c("123456789"));
}

TEST(LogFormat, gives_records_back_and_ends_at_zeros) {
    // The three ways a read can end: a record, the end, damage.
    const SegmentHeader header{3, 10, 99, 7, true};
    std::string content = encode_segment_header(header);
    EXPECT_EQ(content.size(), segment_header_bytes);
    EXPECT_EQ(decode_segment_header(content), header);
    const std::vector<Entry> entries{{10, 2, EntryType::command, bytes_of("one")},
                                     {11, 2, EntryType::barrier, bytes_of("")},
                                     {12, 3, EntryType::configuration, bytes_of("eight by")}};
    encode_record(header, content.size(), entries, content);
    const std::size_t end = content.size();
    EXPECT_EQ(end, segment_header_bytes + record_bytes(entries));
    content += std::string(100, '\0');
    auto record = decode_record(header, content, segment_header_bytes);
    ASSERT_TRUE(record && *record);
    EXPECT_EQ((*record)->entries, entries);
    record = decode_record(header, content, end);
    ASSERT_TRUE(record);
    EXPECT_FALSE(*record);
    // A record copied to another place of the file, or into another segment, does not pass.
    std::string moved = content.substr(0, segment_header_bytes) + std::string(8, '\0') +
                        content.substr(segment_header_bytes);
    EXPECT_FALSE(decode_record(header, moved, segment_header_bytes + 8));
    EXPECT_FALSE(decode_record({4, 10, 99, 7, true}, content, segment_header_bytes));
}

TEST(PeerCodec, gives_every_frame_back_and_survives_arbitrary_bytes) {
    // Frames come from the network: every length is checked before it is believed.
    const AppendEntries append{4,
                               9,
                               3,
                               8,
                               {{10, 4, EntryType::command, bytes_of("payload")},
                                {11, 4, EntryType::barrier, bytes_of("")}}};
    const std::vector<PeerFrame> frames{Hello{1, "cluster", 1, 2, 77},
                                        Refusal{"no"},
                                        Message{0, 0, RequestVote{4, 3, 2, true, false}},
                                        Message{0, 0, RequestVoteResult{4, true, true}},
                                        Message{0, 0, append},
                                        Message{0, 0, AppendEntriesResult{4, 3, 2}},
                                        Message{0, 0, TimeoutNow{4, 3, 2}},
                                        SnapshotStart{4, {3, 2, 1, "configuration"}, 1000, 5},
                                        SnapshotPiece{256, "piece"}};
    std::mt19937_64 random{1};
    for (const PeerFrame& frame : frames) {
        std::string bytes;
        encode_frame(frame, bytes);
        const auto header = decode_frame_header(bytes, 1000);
        ASSERT_TRUE(header);
        const auto decoded = decode_frame(*header, bytes.substr(frame_header_bytes));
        ASSERT_TRUE(decoded) << decoded.error();
        std::string again;
        encode_frame(*decoded, again);
        EXPECT_EQ(again, bytes);
        EXPECT_FALSE(decode_frame_header(bytes, header->payload_bytes - 1U)) << "too large";
        for (int i = 0; i < 2000; ++i) {
            std::string payload = bytes.substr(frame_header_bytes);
            payload[random() % payload.size()] = static_cast<char>(random());
            payload.resize(random() % (payload.size() + 1));
            const FrameHeader fitting{static_cast<std::uint32_t>(payload.size()), crc32c(payload)};
            static_cast<void>(decode_frame(fitting, payload));
        }
    }
}

} // namespace
} // namespace concordat::log::test
