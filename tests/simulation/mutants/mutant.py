"""What a mutant is, and how one is put into a source file.

A fragment of the real source is replaced by a choice between itself and its mutated form, made at run time (mutant
schemata: Untch, Offutt, Harrold, "Mutation Analysis Using Mutant Schemata", ISSTA 1993). So one build holds all of
them, and the product's sources stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCENES = ("world", "group", "disk", "core", "quorum")
ACTIVE = "::concordat::mutants::active"


class CatalogueError(Exception):
    """A mutant does not fit the source any more, or is described wrongly."""


@dataclass(frozen=True)
class Edit:
    path: str
    original: str
    mutated: str
    is_statement: bool


@dataclass(frozen=True)
class Mutant:
    name: str
    rule: str  # the rule of docs/concepts/protocols.md and guarantees.md that it breaks
    breaks: str  # what goes wrong, for a reader
    scene: str  # who hunts it
    caught_by: tuple[str, ...]  # beginnings of the texts of the checks that may catch it
    edits: tuple[Edit, ...]


def statement(path: str, original: str, mutated: str) -> Edit:
    """Whole statements. White space counts as one blank, so that a new layout does no harm."""
    return Edit(path, original, mutated, True)


def expression(path: str, original: str, mutated: str) -> Edit:
    return Edit(path, original, mutated, False)


def one_line(text: str) -> str:
    if "//" in text:
        raise CatalogueError(f"a mutated fragment must not hold a comment: {text!r}")
    return " ".join(text.split())


def locate(path: str, source: str, original: str) -> tuple[int, int]:
    """Where the fragment stands; it must stand there exactly once."""
    pattern = r"\s+".join(re.escape(word) for word in original.split())
    places = [match.span() for match in re.finditer(pattern, source)]
    if len(places) != 1:
        raise CatalogueError(f"{path}: the fragment occurs {len(places)} times instead of once:\n{original}")
    return places[0]


def choice(original: str, options: list[tuple[int, Edit]]) -> str:
    """The original stays where it was, line by line, so that messages of the compiler name the right line."""
    text = ""
    if options[0][1].is_statement:
        for number, edit in options:
            text += f"if ({ACTIVE} == {number}) {{ {one_line(edit.mutated)} }} else "
        return f"{text}{{ {original} }}"
    for number, edit in options:
        text += f"{ACTIVE} == {number} ? ({one_line(edit.mutated)}) : "
    return f"({text}({original}))"


def mutate(path: str, source: str, edits: list[tuple[int, Edit]]) -> str:
    """The source with every edit of (number, edit) as a choice."""
    places: dict[tuple[int, int], list[tuple[int, Edit]]] = {}
    for number, edit in edits:
        places.setdefault(locate(path, source, edit.original), []).append((number, edit))
    ordered = sorted(places)
    for (_, end), (start, _) in zip(ordered, ordered[1:]):
        if start < end:
            raise CatalogueError(f"{path}: two fragments overlap near: {source[start:end]!r}")
    for begin, end in reversed(ordered):
        options = places[begin, end]
        if len({edit.is_statement for _, edit in options}) != 1:
            raise CatalogueError(f"{path}: one fragment as a statement and as an expression: {source[begin:end]!r}")
        source = source[:begin] + choice(source[begin:end], options) + source[end:]
    return source


def check(mutants: list[Mutant]) -> None:
    names = [mutant.name for mutant in mutants]
    for mutant in mutants:
        if names.count(mutant.name) != 1:
            raise CatalogueError(f"{mutant.name}: there are two of that name")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", mutant.name):
            raise CatalogueError(f"{mutant.name}: not a name")
        if not re.fullmatch(r"(I|Q|C|P|M|R)\d+(, (I|Q|C|P|M|R)\d+)*", mutant.rule):
            raise CatalogueError(f"{mutant.name}: '{mutant.rule}' names no rule")
        if mutant.scene not in SCENES or not mutant.caught_by or not mutant.edits or not mutant.breaks:
            raise CatalogueError(f"{mutant.name}: scene, caught_by, breaks and edits must be given")
