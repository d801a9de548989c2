"""Every model holds in every size of the catalogue, what must wait waits, and every mutant is caught."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import catalogue  # noqa: E402
import checker  # noqa: E402

HERE = Path(__file__).resolve().parent
MOST_STATES = 13_000_000  # a minute of two cores, with the compilers, where docs/reliability.md was measured


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="session")
def verdicts(request) -> dict[str, checker.Verdict]:
    """All runs at once, in parallel; the tests below only look at their own."""
    before = processor_seconds()
    found = checker.check_all(list(catalogue.RUNS))
    used = processor_seconds() - before
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + checker.table(found))
        print(f"{used:.0f} processor seconds")
    return {verdict.run.name: verdict for verdict in found}


@pytest.mark.parametrize("run", catalogue.RUNS, ids=lambda run: run.name)
def test_spin_agrees(run, verdicts):
    assert verdicts[run.name].problem == ""


def test_every_mutant_in_the_models_is_in_the_catalogue():
    """A mutant that nobody runs proves nothing."""
    listed = {(run.model, define) for run in catalogue.MUTANTS for define in run.defines if define.startswith("BUG_")}
    written = {
        (path.name, bug)
        for path in HERE.glob("*.pml")
        for bug in re.findall(r"\bBUG_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert listed == written


def test_every_rule_of_the_protocols_is_broken_by_a_mutant():
    """The rules are those that the documentation numbers; each has a mutant, and its other tests exist."""
    rules = {rule.key: rule for rule in catalogue.RULES}
    documented = (HERE.parents[1] / "docs/concepts/protocols.md").read_text(encoding="utf-8")
    assert {key for key in rules if key[0] in "PQ"} == set(re.findall(r"^\| ([PQ]\d+) \|", documented, re.MULTILINE))
    for rule in rules.values():
        assert rule.mutants, rule.key
        for test in rule.tests:
            assert (HERE.parents[1] / test).exists(), test


def test_the_readme_lists_rules_and_mutants_as_the_catalogue_does():
    assert catalogue.rules_table() in (HERE / "README.md").read_text(encoding="utf-8")


def test_the_state_spaces_are_as_large_as_published(verdicts):
    """The holding models together visit at least two million states."""
    assert sum(verdict.states for verdict in verdicts.values() if verdict.run.holds) >= 2_000_000


def test_the_searches_are_small_enough_for_every_change(verdicts):
    """Counted in states, which are the same on every machine; the seconds are printed above. What needs more is for
    the campaign."""
    assert sum(verdict.states for verdict in verdicts.values()) <= MOST_STATES
