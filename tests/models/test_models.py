"""Every model holds in every size of the catalogue, and every mutant is caught."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import catalogue  # noqa: E402
import checker  # noqa: E402


@pytest.fixture(scope="session")
def verdicts(request) -> dict[str, checker.Verdict]:
    """All runs at once, in parallel; the tests below only look at their own."""
    found = checker.check_all(list(catalogue.RUNS))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + checker.table(found))
    return {verdict.run.name: verdict for verdict in found}


@pytest.mark.parametrize("run", catalogue.RUNS, ids=lambda run: run.name)
def test_spin_agrees(run, verdicts):
    assert verdicts[run.name].problem == ""


def test_every_mutant_in_the_models_is_in_the_catalogue():
    """A mutant that nobody runs proves nothing."""
    listed = {(run.model, define) for run in catalogue.MUTANTS for define in run.defines if define.startswith("BUG_")}
    written = {
        (path.name, bug)
        for path in Path(__file__).parent.glob("*.pml")
        for bug in re.findall(r"\bBUG_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    assert listed == written


def test_the_state_spaces_are_as_large_as_published(verdicts):
    """The holding models together visit at least two million states."""
    assert sum(verdict.states for verdict in verdicts.values() if verdict.run.holds) >= 2_000_000
