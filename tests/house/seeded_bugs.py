"""The catalogue of seeded bugs: large enough, in step with the sources, and described."""

from __future__ import annotations

import sys
from pathlib import Path

from source_tree import SourceTree, Violation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "simulation" / "mutants"))

from catalogue import MUTANTS  # noqa: E402
from generate import edits_by_file, with_table  # noqa: E402
from mutant import CatalogueError, check, mutate  # noqa: E402

FOLDER = "tests/simulation/mutants/"
README = FOLDER + "README.md"
LEAST = 25


def there_are_enough_seeded_bugs(tree: SourceTree) -> list[Violation]:
    """At least 25, each with a rule that it breaks and a check that must catch it."""
    try:
        check(MUTANTS)
    except CatalogueError as error:
        return [Violation(FOLDER + "catalogue.py", 1, str(error))]
    text = tree.text(README) or ""
    found = [mutant for mutant in MUTANTS if f"| `{mutant.name}` | {mutant.rule} |" in text]
    return [] if len(found) >= LEAST else [Violation(README, 1, f"{len(found)} seeded bugs; at least {LEAST}")]


def seeded_bugs_fit_the_sources(tree: SourceTree) -> list[Violation]:
    """Every fragment occurs exactly once; otherwise the build of the mutants fails."""
    found = []
    for path, edits in edits_by_file(MUTANTS).items():
        try:
            mutate(path, tree.text(path) or "", edits)
        except CatalogueError as error:
            found.append(Violation(path, 1, str(error)))
    return found


def seeded_bugs_are_listed(tree: SourceTree) -> list[Violation]:
    """The table for readers is the one that the catalogue makes."""
    text = tree.text(README) or ""
    current = with_table(text, MUTANTS) == text
    return [] if current else [Violation(README, 1, f"run {FOLDER}generate.py --readme")]


CHECKS = {
    there_are_enough_seeded_bugs: [{README: "# Seeded bugs\n"}],
    seeded_bugs_fit_the_sources: [{"coordinator/core/voting.cpp": "int a;\n"}],
    seeded_bugs_are_listed: [{README: "# Seeded bugs\n"}],
}
