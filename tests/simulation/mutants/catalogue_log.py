"""Seeded bugs of the log: consensus, storage, encoding."""

from __future__ import annotations

from mutant import Mutant, expression, statement

_LOG = "coordinator/log/"
CODEC = _LOG + "command_codec.cpp"
CONSENSUS = _LOG + "consensus.cpp"
OBLIGATIONS = _LOG + "consensus_obligations.cpp"
FORMAT = _LOG + "log_format.cpp"
READER = _LOG + "segment_reader.cpp"
WRITER = _LOG + "segment_writer.cpp"
SLOTS = _LOG + "slot_file.cpp"
SNAPSHOTS = _LOG + "snapshot_store.cpp"
STORAGE = _LOG + "storage.cpp"

_PERSIST = "out.emplace_back(PersistHardState{hard_state_});"
_TWO_LEADERS = "two leaders in term"
_TWO_HISTORIES = "two nodes applied different entries"

CONSENSUS_MUTANTS = [
    Mutant(
        "term_and_vote_not_persisted", "R1", "term and vote are never written",
        "group", (_TWO_LEADERS, _TWO_HISTORIES, "I5"),
        (statement(OBLIGATIONS, _PERSIST, ""),)),
    Mutant(
        "vote_persisted_after_the_reply", "R1", "the vote leaves before it is durable",
        "group", (_TWO_LEADERS, _TWO_HISTORIES),
        (statement(OBLIGATIONS, _PERSIST, ""),
         statement(OBLIGATIONS, """
            if (engine_->has(RAFT_UPDATE_MESSAGES)) {
                collect_messages(out);
            }""", """
            if (engine_->has(RAFT_UPDATE_MESSAGES)) {
                collect_messages(out);
            }
            if (hard_state_changed) {
                out.emplace_back(PersistHardState{hard_state_});
            }"""))),
    Mutant(
        "applied_before_committed", "I3", "entries are applied before a majority has them",
        "world", ("I3", _TWO_HISTORIES),
        (expression(OBLIGATIONS, "applied_ < commit_index() && applied_ < last_index() && !failed_",
                    "applied_ < last_index() && !failed_"),)),
    Mutant(
        "reported_durable_before_the_sync", "I3", "entries count as durable when their write begins",
        "world", ("I3", _TWO_HISTORIES),
        (statement(OBLIGATIONS, "persist.generation = generation_;", """
            persist.generation = generation_;
            reported_durable_ = last_index();"""),)),
    Mutant(
        "truncated_suffix_kept", "R5", "entries that a leader replaced stay in the log",
        "group", ("assertion: taken.index == last_index() + 1",),
        (statement(OBLIGATIONS, "entries_.resize(taken.index - base_ - 1);", ""),)),
    Mutant(
        "snapshot_installed_without_its_index", "C17", "an installed snapshot does not move the applied index",
        "group", ("an entry was applied out of order", "assertion", "signal"),
        (statement(CONSENSUS, "applied_ = metadata.index;", ""),)),
    Mutant(
        "snapshot_with_the_current_term", "C17", "a snapshot carries the term of today instead of its last entry's",
        "group", ("assertion",),
        (expression(CONSENSUS, "SnapshotMetadata{applied_, term_of(applied_), configuration_index_, configuration_bytes_}",
                    "SnapshotMetadata{applied_, hard_state_.term, configuration_index_, configuration_bytes_}"),)),
    Mutant(
        "applied_while_installing", "R11", "entries are applied while a snapshot is being installed",
        "group", ("two", "an entry", "assertion", "signal"),
        (statement(OBLIGATIONS, """
            if (installing_) {
                return; // rule 11
            }""", ""),)),
    Mutant(
        "snapshot_encoded_without_unfinished", "C17", "unfinished transactions are not written into snapshots",
        "world", ("I", "nodes that applied the same entries"),
        (statement(CODEC, "put(record, *snapshot->add_transactions());", """
            if (core::is_finished(record.state)) {
                put(record, *snapshot->add_transactions());
            }"""),)),
    Mutant(
        "snapshot_without_epoch", "C17", "the epoch is not written into snapshots",
        "world", ("I", "nodes that applied the same entries"),
        (statement(CODEC, "snapshot->set_epoch(content.epoch.value());", ""),)),
]

STORAGE_MUTANTS = [
    Mutant(
        "append_without_sync", "C19", "appended entries are acknowledged without a sync",
        "disk", ("C19",),
        (statement(STORAGE, "return writer_->sync();", "return IoResult<void>{};"),)),
    Mutant(
        "vote_without_sync", "C19", "term and vote are written and not synced",
        "disk", ("C19",),
        (statement(SLOTS, """
            return in_order([&] { return write_slot(values); }, [&] { return sync(); },
                    [&] { return write_slot(values); }, [&] { return sync(); });""",
                   "return write_slot(values);"),)),
    Mutant(
        "mark_moved_before_the_sync", "C19", "the durable mark moves before the entries are durable",
        "disk", ("C19",),
        (statement(STORAGE, "bytes_written_ += pending.size();", """
            bytes_written_ += pending.size();
            static_cast<void>(mark_->write_lazily(
                {writer_->header().sequence, writer_->offset() + pending.size(), 0, 0}));"""),)),
    Mutant(
        "record_checksum_ignored", "C22", "the content of a record is not compared with its checksum",
        "disk", ("C22", "C19"),
        (expression(FORMAT, "payload_checksum != crc32c(payload, seed)", "false"),)),
    Mutant(
        "missing_end_accepted", "C22", "a log that ends before the durable mark is taken for whole",
        "disk", ("C22",),
        (expression(READER, "header.sequence == mark_.segment && offset < mark_.offset", "false"),)),
    Mutant(
        "replaced_suffix_read_again", "C19", "entries that a later record replaced are read again",
        "disk", ("C19",),
        (statement(READER, "log_.entries.resize(first - log_.base - 1);", ""),)),
    Mutant(
        "both_slots_written_unsynced", "C19", "one power cut may tear both slots of the durable mark",
        "disk", ("C19",),
        (expression(SLOTS, "unsynced_ ? 2 : 1", "1"),)),
    Mutant(
        "slot_checksum_ignored", "C22", "a slot is not compared with its checksum",
        "disk", ("C22", "C19"),
        (expression(SLOTS, "checksum != crc32c(bytes.substr(0, slot_bytes - 4))", "false"),)),
    Mutant(
        "older_slot_believed", "C19", "the older of two slots counts",
        "disk", ("C19", "C22"),
        (expression(SLOTS, "slot->counter > result.counter_", "slot->counter < result.counter_"),)),
    Mutant(
        "snapshot_without_sync", "C19", "a snapshot gets its name before its content is durable",
        "disk", ("C19",),
        (statement(SNAPSHOTS, "return (*file)->sync();", "return IoResult<void>{};"),)),
    Mutant(
        "snapshot_name_not_synced", "C19", "the log is shortened before the snapshot's name is durable",
        "disk", ("C19",),
        (statement(SNAPSHOTS, "return files.sync_directory(directory);", "return IoResult<void>{};"),)),
    Mutant(
        "snapshot_digest_ignored", "C22", "a snapshot is not compared with its digest",
        "disk", ("C22",),
        (expression(SNAPSHOTS, "digest.finish() != std::string_view{*content}.substr(body.size())", "false"),)),
    Mutant(
        "segment_name_not_synced", "C19", "entries are acknowledged in a file whose name is not durable",
        "disk", ("C19",),
        (statement(WRITER, "return files.sync_directory(directory);", "return IoResult<void>{};"),)),
    Mutant(
        "removals_not_in_order", "C19", "segments are removed without waiting for the one before",
        "disk", ("C19",),
        (statement(STORAGE, "return files_.sync_directory(options_.directory);", "return IoResult<void>{};"),)),
    Mutant(
        "compacts_too_much", "C17", "compaction removes entries that no snapshot covers",
        "disk", ("C19",),
        (expression(STORAGE, "segments_[1].header.first_index <= through + 1",
                    "segments_[1].header.first_index <= through + 4"),)),
    Mutant(
        "restart_not_marked", "C17", "the log after a received snapshot does not say that it starts anew",
        "disk", ("C19",),
        (statement(STORAGE, """
            if (auto started = start_segment(next, 0, true); !started) {
                return started;
            }""", """
            if (auto started = start_segment(next, 0, false); !started) {
                return started;
            }"""),)),
]

LOG: list[Mutant] = [*CONSENSUS_MUTANTS, *STORAGE_MUTANTS]
