"""Writes the mutated sources, the table of mutants for the test, and the table for the reader.

    generate.py --output FOLDER [--source ROOT]   mutated sources and table.cpp below FOLDER
    generate.py --list                            the files that are mutated, one a line
    generate.py --readme                          writes the table of README.md anew
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from catalogue import MUTANTS  # noqa: E402
from mutant import CatalogueError, Edit, Mutant, check, mutate  # noqa: E402

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- table: generate.py --readme -->", "<!-- end of table -->"


def edits_by_file(mutants: list[Mutant]) -> dict[str, list[tuple[int, Edit]]]:
    files: dict[str, list[tuple[int, Edit]]] = {}
    for number, mutant in enumerate(mutants, start=1):
        for edit in mutant.edits:
            files.setdefault(edit.path, []).append((number, edit))
    return dict(sorted(files.items()))


def mutated_source(root: Path, path: str, edits: list[tuple[int, Edit]]) -> str:
    source = (root / path).read_text(encoding="utf-8")
    return (f'#include "tests/simulation/mutants/active.hpp"\n#line 1 {json.dumps(str(root / path))}\n'
            f"{mutate(path, source, edits)}")


def table(mutants: list[Mutant]) -> str:
    lines = ['#include "tests/simulation/mutants/scenes.hpp"', "", "namespace concordat::mutants {", "",
             "const std::vector<Mutant>& all_mutants() {", "    static const std::vector<Mutant> mutants = {"]
    for number, mutant in enumerate(mutants, start=1):
        checks = ", ".join(json.dumps(text) for text in mutant.caught_by)
        lines.append(f'        {{{number}, "{mutant.name}", "{mutant.rule}", {json.dumps(mutant.breaks)}, '
                     f"Scene::{mutant.scene}, {{{checks}}}}},")
    return "\n".join([*lines, "    };", "    return mutants;", "}", "", "} // namespace concordat::mutants", ""])


def readme_table(mutants: list[Mutant]) -> str:
    lines = [BEGIN, "", "| mutant | rule | what it does | caught in | by |", "|---|---|---|---|---|"]
    for mutant in mutants:
        checks = ", ".join(f"`{text}`" for text in mutant.caught_by)
        lines.append(f"| `{mutant.name}` | {mutant.rule} | {mutant.breaks} | {mutant.scene} | {checks} |")
    return "\n".join([*lines, "", END])


def with_table(text: str, mutants: list[Mutant]) -> str:
    """README.md with the table between its two marks written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + readme_table(mutants) + after


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--source", type=Path, default=HERE.parents[2])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--readme", action="store_true")
    arguments = parser.parse_args()
    try:
        check(MUTANTS)
        files = edits_by_file(MUTANTS)
        if arguments.list:
            print("\n".join(files))
        if arguments.readme:
            readme = HERE / "README.md"
            write_if_changed(readme, with_table(readme.read_text(encoding="utf-8"), MUTANTS))
        if arguments.output:
            for path, edits in files.items():
                write_if_changed(arguments.output / path, mutated_source(arguments.source, path, edits))
            write_if_changed(arguments.output / "table.cpp", table(MUTANTS))
    except CatalogueError as error:
        print(f"tests/simulation/mutants: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
