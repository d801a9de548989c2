"""All seeded bugs, in the order of their numbers."""

from __future__ import annotations

from catalogue_core import CORE
from catalogue_log import LOG
from mutant import Mutant

WAITING = {"one_phase_sent_before_begin",
           "read_without_barrier",
           "end_after_first_acknowledgement",
           "unknown_answer_acknowledges",
           "decided_not_delivered_by_next_leader",
           "resumed_one_phase_taken_for_unsent",
           "vote_persisted_after_the_reply",
           "stale_write_counted",
           "older_snapshot_answered",
           "compacted_entries_stepped",
           "commit_index_taken_back",
           "entries_claimed_that_are_not_here",
           "refusal_hides_the_term",
           "segment_checksum_ignored",
           "record_header_checksum_ignored"}
MUTANTS: list[Mutant] = [mutant for mutant in [*CORE, *LOG] if mutant.name not in WAITING]
