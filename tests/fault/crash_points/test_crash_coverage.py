"""Every failpoint of the sources is in the matrix and the other way round; what is shipped contains none."""

from __future__ import annotations

import re

import pytest
from crash_matrix import POINT, all_cases
from stack import SOURCE, build_directory, program

FAILPOINT_PROGRAMS = ("concordatd-failpoints", "order-service-failpoints", "inventory-service-failpoints")
SHIPPED = ("concordatd", "concordat", "concordat-relay", "order-service", "inventory-service")
ARMING = b"CONCORDAT_FAILPOINTS"

# Commands that are no step of a commit protocol, each with its reason.
NO_STEP = {
    "read": "an entry without content",
    "put_participant": "registry", "remove_participant": "registry",
    "operator_action": "audit",
}


def sources() -> dict[str, str]:
    found = {}
    for folder in ("coordinator", "participant-sdk/src"):
        for path in sorted((SOURCE / folder).rglob("*.?pp")):
            if path.parent.name != "failpoint":
                found[path.relative_to(SOURCE).as_posix()] = path.read_text(encoding="utf-8")
    return found


def points(only: str = "") -> set[str]:
    return {name for path, text in sources().items() if path.startswith(only) for name in POINT.findall(text)}


def test_every_point_is_in_the_matrix_and_the_other_way_round():
    """A point that no case hits proves nothing; a case whose point is gone hits nothing."""
    in_matrix = {case.point for case in all_cases()}
    assert points() - in_matrix == set(), "in the sources only"
    assert in_matrix - points() == set(), "in the matrix only"


def test_every_kind_of_command_is_in_the_matrix_or_has_a_reason():
    """A new command brings new steps: '*' in a log point stands for it as well."""
    text = sources()["coordinator/log/failpoint_kinds.hpp"]
    declared = re.search(r"kinds\{(.*?)\};", text, re.DOTALL)[1]
    kinds = set(re.findall(r'"(\w+)"', declared)) | {"decide_abort"}
    steps = {case.kind for case in all_cases() if case.point.startswith("log.apply.")}
    assert steps | NO_STEP.keys() == kinds
    assert not steps & NO_STEP.keys()


def test_the_core_has_no_points():
    """The transaction core is pure: a crash happens around it, never inside."""
    assert points("coordinator/core/") == set()


def fixed_parts(names: set[str]) -> list[bytes]:
    return [name.encode() for name in sorted(names)]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_contains_no_point(name):
    """Neither the names nor the way to arm them."""
    content = program(name).read_bytes()
    assert [part for part in [*fixed_parts(points()), ARMING] if part in content] == []


def test_installed_libraries_contain_no_point():
    libraries = sorted((build_directory() / "lib").glob("libconcordat_*.a"))
    assert libraries
    for library in libraries:
        content = library.read_bytes()
        assert [part for part in [*fixed_parts(points()), ARMING] if part in content] == [], library


@pytest.mark.parametrize("name", FAILPOINT_PROGRAMS)
def test_programs_with_failpoints_contain_all_of_them(name):
    """A source file that is missing in CMakeLists.txt would be linked from the plain library, without its points."""
    content = program(name).read_bytes()
    folder = "coordinator/" if name.startswith("concordatd") else "participant-sdk/"
    assert [part for part in [*fixed_parts(points(folder)), ARMING] if part not in content] == []
