// One test per trap of libraft that Consensus disarms; the number in the name is the trap's.

#include "tests/unit/log/consensus_rig.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace concordat::log::test {
namespace {

TEST(ConsensusTrap, trap_1_only_the_adapter_includes_the_header_of_libraft) {
    // The header needs special handling around it, which must stand in one place.
    std::vector<std::string> includers;
    for (const char* part : {"coordinator", "participant-sdk", "tests"}) {
        const std::filesystem::path top = std::filesystem::path{CONCORDAT_SOURCE_DIR} / part;
        for (const auto& file : std::filesystem::recursive_directory_iterator{top}) {
            if (file.path().extension() != ".cpp" && file.path().extension() != ".hpp") {
                continue;
            }
            std::ifstream stream{file.path()};
            for (std::string line; std::getline(stream, line);) {
                if (line.starts_with("#include <raft") || line.starts_with("#include \"raft")) {
                    includers.push_back(file.path().filename().string());
                }
            }
        }
    }
    EXPECT_EQ(includers, std::vector<std::string>{"raft_adapter.hpp"});
}

TEST(ConsensusTrap, trap_2_malformed_messages_never_reach_the_core) {
    // The packaged library checks nothing; each of these would corrupt it silently.
    Rig rig;
    const Entry good = command(2, 2);
    Entry gap = command(9, 2);
    Entry future_term = command(2, 9);
    Entry no_term = command(2, 0);
    Entry no_bytes{2, 2, EntryType::command, nullptr};
    Entry strange_type = good;
    strange_type.type = static_cast<EntryType>(7);
    Entry bad_configuration{2, 2, EntryType::configuration, bytes_of("not a configuration")};
    std::uint64_t expected = 0;
    for (const Entry& entry :
         {gap, future_term, no_term, no_bytes, strange_type, bad_configuration}) {
        EXPECT_TRUE(rig.append(2, 1, 1, {entry}).empty());
        EXPECT_EQ(rig.engine().rejected_messages(), ++expected) << rig.engine().last_rejection();
    }
    const std::vector<AppendEntries> headers{
        {0, 1, 1, 0, {}},         // no term
        {2, 1, 0, 0, {}},         // previous entry without a term
        {2, 0, 1, 0, {}},         // term without an entry
        {2, 1, 3, 0, {}},         // previous term from the future
        {2, ~Index{0}, 1, 0, {}}, // index that wraps around
        {2, 1, 1, ~Index{0}, {}}, // commit index that wraps around
    };
    for (const AppendEntries& header : headers) {
        EXPECT_TRUE(rig.receive(2, header).empty());
        EXPECT_EQ(rig.engine().rejected_messages(), ++expected);
    }
    EXPECT_TRUE(rig.engine().receive(1, {1, 1, TimeoutNow{1, 1, 1}}).empty()) << "from itself";
    EXPECT_TRUE(rig.engine().receive(1, {2, 3, TimeoutNow{1, 1, 1}}).empty()) << "for another";
    EXPECT_TRUE(rig.receive(2, RequestVoteResult{1, true, false}).empty()) << "no candidate";
    EXPECT_TRUE(rig.receive(2, InstallSnapshot{2, {5, 2, 1, "bad"}, bytes_of("x")}).empty());
    EXPECT_TRUE(rig.receive(2, RequestVote{2, 5, 0, false, false}).empty());
    EXPECT_EQ(rig.engine().rejected_messages(), expected + 5);
    EXPECT_FALSE(rig.append(2, 1, 1, {good}).empty()) << "and a good one is taken";
}

TEST(ConsensusTrap, trap_2_a_second_leader_of_the_same_term_is_not_believed) {
    // The core asserts that this cannot be, which in the packaged library means it goes on.
    Rig rig;
    rig.win();
    const Term term = rig.engine().hard_state().term;
    EXPECT_EQ(rig.engine().role(), EngineRole::leader);
    EXPECT_TRUE(rig.append(term, 1, 1, {}).empty());
    EXPECT_EQ(rig.engine().role(), EngineRole::leader);
}

TEST(ConsensusTrap, trap_3_messages_come_after_the_term_and_vote_they_depend_on) {
    // A vote that is sent before it is durable can be given twice.
    Rig rig;
    rig.win();
    const auto position = [](const Obligations& obligations, auto matches) {
        return std::ranges::find_if(obligations, matches) - obligations.begin();
    };
    const auto saved = position(rig.vote, [](const Obligation& one) {
        return std::holds_alternative<PersistHardState>(one);
    });
    const auto asked =
        position(rig.vote, [](const Obligation& one) { return std::holds_alternative<Send>(one); });
    ASSERT_LT(static_cast<std::size_t>(asked), rig.vote.size());
    EXPECT_LT(saved, asked);
    EXPECT_EQ(of_kind<PersistHardState>(rig.vote).at(0).state.voted_for, 1U);

    Rig voter;
    const Obligations granted = voter.receive(2, RequestVote{5, 1, 1, false, false});
    ASSERT_EQ(granted.size() >= 2, true);
    EXPECT_TRUE(std::holds_alternative<PersistHardState>(granted.front()));
    EXPECT_TRUE(sent<RequestVoteResult>(granted).at(0).granted);
}

TEST(ConsensusTrap, trap_4_memory_has_one_owner_when_entries_are_taken_refused_or_ignored) {
    // Each way through the core frees the batch exactly once; the address sanitizer listens.
    Rig rig;
    const Obligations taken = rig.append(2, 1, 1, {command(2, 2), command(3, 2)});
    EXPECT_EQ(of_kind<PersistEntries>(taken).at(0).entries.size(), 2U);
    EXPECT_TRUE(of_kind<PersistEntries>(rig.append(2, 1, 1, {command(2, 2)})).empty()) << "known";
    EXPECT_TRUE(of_kind<PersistEntries>(rig.append(2, 9, 2, {command(10, 2)})).empty()) << "gap";
    EXPECT_TRUE(of_kind<PersistEntries>(rig.append(1, 1, 1, {command(2, 1)})).empty()) << "old";
    const Obligations some = rig.append(2, 1, 1, {command(2, 2), command(3, 2), command(4, 2)});
    ASSERT_EQ(of_kind<PersistEntries>(some).at(0).entries.size(), 1U);
    EXPECT_EQ(of_kind<PersistEntries>(some).at(0).entries[0].index, 4U);

    Rig leader;
    leader.win();
    const auto bytes = bytes_of("a submitted buffer stays ours");
    const auto submitted = leader.engine().submit(leader.time(), bytes);
    ASSERT_TRUE(submitted);
    EXPECT_EQ(of_kind<PersistEntries>(*submitted).at(0).entries.at(0).bytes, bytes);
}

TEST(ConsensusTrap, trap_5_the_completion_of_a_truncated_write_is_dropped) {
    // Reporting it would count entries as durable that were replaced and are still being written.
    Rig rig;
    const Obligations first = rig.append(2, 1, 1, {command(2, 2), command(3, 2), command(4, 2)});
    const Obligations second =
        rig.receive(3, AppendEntries{3, 1, 1, 0, {command(2, 3), command(3, 3)}});
    EXPECT_GT(of_kind<PersistEntries>(second).at(0).generation,
              of_kind<PersistEntries>(first).at(0).generation);
    EXPECT_TRUE(rig.persist(first).empty());
    EXPECT_EQ(rig.engine().persisted_index(), 1U);
    const Obligations acknowledged = rig.persist(second);
    EXPECT_EQ(rig.engine().persisted_index(), 3U);
    EXPECT_EQ(sent<AppendEntriesResult>(acknowledged).at(0).last_log_index, 3U);
}

TEST(ConsensusTrap, trap_6_more_than_32_entries_may_be_in_flight) {
    // The library's default would stall a pipeline that is longer than one round trip.
    Rig rig;
    Obligations won = rig.win();
    for (const AppendEntries& append : sent<AppendEntries>(won)) {
        const Index last = append.previous_index + append.entries.size();
        rig.receive(2, AppendEntriesResult{append.term, 0, last});
    }
    std::size_t to_peer_2 = 0;
    for (int i = 0; i < 200; ++i) {
        const auto submitted = rig.engine().submit(rig.time(), bytes_of("12345678"));
        ASSERT_TRUE(submitted);
        for (const Send& send : of_kind<Send>(*submitted)) {
            const auto* append = std::get_if<AppendEntries>(&send.message.body);
            to_peer_2 += send.message.to == 2 && append != nullptr ? append->entries.size() : 0;
        }
    }
    EXPECT_GE(to_peer_2, 199U);
}

TEST(ConsensusTrap, trap_7_lost_leadership_says_nothing_about_entries_in_flight) {
    // They may be committed by the next leader or replaced; only apply tells.
    Rig rig;
    rig.win();
    const auto submitted = rig.engine().submit(rig.time(), bytes_of("perhaps"));
    ASSERT_TRUE(submitted);
    rig.persist(*submitted);
    const Term term = rig.engine().hard_state().term;
    const Index index = rig.engine().last_index();
    Obligations out = rig.append(term + 1, 1, 1, {command(2, term + 1), command(3, term + 1)}, 3);
    ASSERT_EQ(of_kind<RoleChanged>(out).at(0).role, EngineRole::follower);
    const auto applied = of_kind<ApplyEntries>(out);
    ASSERT_FALSE(applied.empty());
    for (const Entry& entry : applied.at(0).entries) {
        EXPECT_NE(*entry.bytes, "perhaps");
    }
    EXPECT_GE(index, 2U);
}

TEST(ConsensusTrap, trap_9_a_single_voter_leads_without_advancing_the_term) {
    // Which is why epochs are log indexes and never terms.
    PersistedState state = bootstrap_state({{1, "a:1"}});
    for (int life = 0; life < 3; ++life) {
        Rig rig{state};
        EXPECT_EQ(rig.engine().role(), EngineRole::leader);
        EXPECT_EQ(rig.engine().hard_state().term, 1U);
        EXPECT_TRUE(of_kind<PersistHardState>(rig.last).empty());
    }
}

TEST(ConsensusTrap, trap_10_a_configuration_inside_a_batch_is_reported_at_its_own_index) {
    // The core notes the index of the first new entry instead, and would wait for ever for it to be
    // committed; as a leader it would then refuse every later change.
    Rig rig;
    const auto members = [](std::size_t count) {
        std::vector<VotingMember> all = three_members();
        all.push_back({4, "d:4"});
        all.resize(count);
        return bytes_of(encode_configuration(all));
    };
    const Obligations out = rig.append(
        2, 1, 1,
        {command(2, 2), command(3, 2), {4, 2, EntryType::configuration, members(4)}, command(5, 2)},
        5);
    EXPECT_EQ(rig.engine().members().size(), 4U);
    std::vector<Index> applied;
    for (const ApplyEntries& apply : of_kind<ApplyEntries>(out)) {
        for (const Entry& entry : apply.entries) {
            applied.push_back(entry.index);
        }
    }
    EXPECT_EQ(applied, (std::vector<Index>{2, 3, 4, 5}));
    EXPECT_EQ(of_kind<PersistEntries>(out).size(), 2U) << "the configuration starts a step";
    // It is committed now: a conflicting suffix does not roll it back.
    rig.persist(out);
    rig.receive(3, AppendEntries{3, 5, 2, 5, {command(6, 3)}});
    EXPECT_EQ(rig.engine().members().size(), 4U);
}

TEST(ConsensusTrap, trap_11_nothing_is_applied_while_a_snapshot_is_being_installed) {
    // Heartbeats raise the commit index to the snapshot before it is durable and restored.
    Rig rig;
    const SnapshotMetadata metadata{100, 2, 1, encode_configuration(three_members())};
    const Obligations started = rig.receive(2, InstallSnapshot{2, metadata, bytes_of("state")});
    ASSERT_EQ(of_kind<InstallReceivedSnapshot>(started).size(), 1U);
    EXPECT_EQ(*of_kind<InstallReceivedSnapshot>(started).at(0).data, "state");
    const Obligations heartbeat = rig.append(2, 100, 2, {}, 150);
    EXPECT_TRUE(of_kind<ApplyEntries>(heartbeat).empty());
    EXPECT_TRUE(rig.receive(2, InstallSnapshot{2, metadata, bytes_of("state")}).empty());
    const Obligations done = rig.engine().snapshot_installed(rig.time(), metadata);
    EXPECT_TRUE(of_kind<ApplyEntries>(done).empty());
    EXPECT_EQ(rig.engine().applied_index(), 100U);
    const Obligations next = rig.append(2, 100, 2, {command(101, 2)}, 101);
    ASSERT_EQ(of_kind<ApplyEntries>(next).size(), 1U);
    EXPECT_EQ(of_kind<ApplyEntries>(next).at(0).entries.at(0).index, 101U);
}

TEST(ConsensusTrap, trap_11_writes_that_a_snapshot_voided_do_not_count) {
    // Their completion arrives while or after the snapshot is installed.
    Rig rig;
    const Obligations old = rig.append(2, 1, 1, {command(2, 2)});
    const SnapshotMetadata metadata{100, 3, 1, encode_configuration(three_members())};
    rig.receive(3, InstallSnapshot{3, metadata, bytes_of("state")});
    EXPECT_TRUE(rig.persist(old).empty());
    static_cast<void>(rig.engine().snapshot_installed(rig.time(), metadata));
    EXPECT_TRUE(rig.persist(old).empty());
    EXPECT_EQ(rig.engine().persisted_index(), 100U);
}

TEST(ConsensusTrap, trap_13_an_election_starts_with_a_pre_vote_that_changes_nothing) {
    // A node that comes back from a partition must not depose a good leader by its term.
    Rig rig;
    rig.win();
    ASSERT_EQ(sent<RequestVote>(rig.pre_vote).size(), 2U);
    EXPECT_TRUE(sent<RequestVote>(rig.pre_vote).at(0).pre_vote);
    EXPECT_TRUE(of_kind<PersistHardState>(rig.pre_vote).empty());
    EXPECT_FALSE(sent<RequestVote>(rig.vote).at(0).pre_vote);
}

TEST(ConsensusTrap, a_late_rejection_does_not_make_the_leader_forget_what_a_peer_has) {
    // Found by simulation: the core stepped back behind the match index and never sent again.
    Rig rig;
    rig.win();
    const Term term = rig.engine().hard_state().term;
    Obligations out;
    for (int i = 0; i < 3; ++i) {
        const auto submitted = rig.engine().submit(rig.time(), bytes_of("12345678"));
        ASSERT_TRUE(submitted);
        rig.persist(*submitted);
    }
    const Index last = rig.engine().last_index();
    rig.receive(2, AppendEntriesResult{term, 0, last - 1});
    // The peer falls silent until the leader probes it again, then an old rejection arrives.
    for (int i = 0; i < 30; ++i) {
        rig.advance(15);
        out = rig.engine().timeout(rig.time());
        rig.receive(3, AppendEntriesResult{term, 0, last});
    }
    rig.receive(2, AppendEntriesResult{term, last - 1, last - 2});
    rig.advance(15);
    out = rig.engine().timeout(rig.time());
    bool found = false;
    for (const Send& send : of_kind<Send>(out)) {
        const auto* append = std::get_if<AppendEntries>(&send.message.body);
        found |= send.message.to == 2 && append != nullptr && append->previous_index == last - 1 &&
                 append->entries.size() == 1;
    }
    EXPECT_TRUE(found);
}

TEST(ConsensusTrap, an_old_message_with_a_new_commit_index_does_not_take_the_commit_index_back) {
    // Found by simulation: the core would set it to the end of the old message.
    Rig rig;
    rig.append(2, 1, 1, {command(2, 2), command(3, 2), command(4, 2)}, 4);
    EXPECT_EQ(rig.engine().commit_index(), 4U);
    rig.append(2, 1, 1, {command(2, 2)}, 10);
    EXPECT_EQ(rig.engine().commit_index(), 4U);
}

TEST(ConsensusTrap, entries_before_a_compacted_log_are_not_appended_at_its_end) {
    // The core no longer knows their terms and would take them for new ones.
    Rig rig;
    std::vector<Entry> entries;
    for (Index index = 2; index <= 20; ++index) {
        entries.push_back(command(index, 2));
    }
    rig.persist(rig.append(2, 1, 1, entries, 20));
    const auto metadata = rig.engine().snapshot_of_applied();
    ASSERT_TRUE(metadata);
    ASSERT_TRUE(rig.engine().snapshot_taken(rig.time(), *metadata, 5).first);
    ASSERT_EQ(rig.engine().first_index(), 16U);
    const auto bytes = bytes_of(encode_configuration(three_members()));
    const Obligations out =
        rig.append(2, 0, 0, {{1, 1, EntryType::configuration, bytes}, command(2, 2)}, 20);
    EXPECT_TRUE(of_kind<PersistEntries>(out).empty());
    EXPECT_EQ(rig.engine().last_index(), 20U);
    EXPECT_EQ(sent<AppendEntriesResult>(out).at(0).rejected, 0U);
}

TEST(ConsensusTrap, entries_right_behind_the_compacted_log_are_taken) {
    // Found by simulation: a leader that knew of nothing newer than the last entry forgotten here
    // was refused for ever, for the core does not know that entry's term any more.
    Rig rig;
    std::vector<Entry> entries;
    for (Index index = 2; index <= 21; ++index) {
        entries.push_back(command(index, 2));
    }
    const std::vector<Entry> known(entries.begin(), entries.end() - 1);
    rig.persist(rig.append(2, 1, 1, known, 20));
    ASSERT_TRUE(
        rig.engine().snapshot_taken(rig.time(), *rig.engine().snapshot_of_applied(), 5).first);
    ASSERT_EQ(rig.engine().first_index(), 16U);
    const Obligations out =
        rig.append(2, 15, 2, std::vector<Entry>(entries.begin() + 14, entries.end()), 20);
    const auto writes = of_kind<PersistEntries>(out);
    ASSERT_EQ(writes.size(), 1U);
    ASSERT_EQ(writes[0].entries.size(), 1U);
    EXPECT_EQ(writes[0].entries[0].index, 21U);
}

TEST(ConsensusTrap, a_snapshot_of_an_older_term_is_not_answered) {
    // Found by simulation (seed 325): the core answers it with a position that it never set, and
    // the leader of the newer term, taking that for progress, committed what only it had.
    Rig rig;
    rig.persist(rig.append(2, 1, 1, {command(2, 2)}, 2));
    rig.receive(2, RequestVote{5, 2, 2, true, false});
    ASSERT_EQ(rig.engine().hard_state().term, 5U);
    const SnapshotMetadata metadata{40, 2, 1, encode_configuration(three_members())};
    EXPECT_TRUE(rig.receive(3, InstallSnapshot{2, metadata, bytes_of("state")}).empty());
    EXPECT_EQ(rig.engine().last_rejection(), "InstallSnapshot of an older term");
}

TEST(ConsensusTrap, who_refuses_a_pre_vote_tells_the_term_that_it_knows) {
    // Found by simulation (seed 2085): a node with the best log and a lower term was refused again
    // and again without learning why; nobody else could win either.
    Rig rig;
    rig.receive(3, RequestVote{9, 1, 1, true, false});
    ASSERT_EQ(rig.engine().hard_state().term, 9U);
    const Obligations out = rig.receive(2, RequestVote{4, 30, 3, false, true});
    const auto results = sent<RequestVoteResult>(out);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_FALSE(results[0].granted);
    EXPECT_EQ(results[0].term, 9U);
}

TEST(ConsensusTrap, a_leader_whose_hand_over_fails_takes_work_again) {
    // Found by simulation: refused as by a node that does not lead, its owner gave the leadership
    // up for good, while peers and engine still knew it as leader: nobody served any more.
    Rig rig;
    rig.win();
    rig.persist(*rig.engine().submit(rig.time(), bytes_of("12345678")));
    static_cast<void>(rig.engine().transfer(rig.time(), 2));
    ASSERT_TRUE(rig.engine().is_transferring());
    const auto meanwhile = rig.engine().submit(rig.time(), bytes_of("12345678"));
    ASSERT_FALSE(meanwhile);
    EXPECT_EQ(meanwhile.error(), SubmitError::overloaded) << "which is tried again";
    const Term term = rig.engine().hard_state().term;
    for (int i = 0; i < 30 && rig.engine().is_transferring(); ++i) {
        rig.advance(15);
        static_cast<void>(rig.engine().timeout(rig.time()));
        rig.receive(3, AppendEntriesResult{term, 0, rig.engine().last_index()});
    }
    ASSERT_FALSE(rig.engine().is_transferring());
    ASSERT_EQ(rig.engine().role(), EngineRole::leader);
    EXPECT_TRUE(rig.engine().submit(rig.time(), bytes_of("12345678")));
}

} // namespace
} // namespace concordat::log::test
