"""The house rules, checked on the whole tree; and for each rule the proof that its check can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import banned  # noqa: E402
import documents  # noqa: E402
import fences  # noqa: E402
import seeded_bugs  # noqa: E402
import shape  # noqa: E402
from cpp_scanner import functions  # noqa: E402
from source_tree import SourceTree  # noqa: E402

CHECKS = {**fences.CHECKS, **shape.CHECKS, **banned.CHECKS, **documents.CHECKS, **seeded_bugs.CHECKS}
BAD_TREES = [
    pytest.param(check, files, id=f"{check.__name__}-{number}")
    for check, examples in CHECKS.items()
    for number, files in enumerate(examples)
]


@pytest.fixture(scope="session")
def repository() -> SourceTree:
    return SourceTree.of_repository(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_tree_keeps_the_rule(check, repository):
    violations = check(repository)
    assert not violations, "\n" + "\n".join(map(str, violations))


@pytest.mark.parametrize(("check", "files"), BAD_TREES)
def test_check_can_fail(check, files):
    assert check(SourceTree(files))


def test_every_check_has_an_example_that_breaks_it():
    assert all(CHECKS.values())


def test_function_lengths_are_measured_from_brace_to_brace():
    source = """
namespace a {
struct S {
    S() : x_{1}, y_(2) {
        f();
    }
    int x_{0};
    static constexpr int table[] = {1, 2};
};
template <typename T> auto g(T t) -> decltype(t()) {
    auto h = [] { return '{'; };
    return t();
}
enum class E { one, two };
int k() { return 1'000; }
}
"""
    assert [(found.name, found.length) for found in functions(source)] == [("S", 3), ("g", 4), ("k", 1)]
