"""Calls and words that are not used here, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cpp_scanner import without_comments_and_literals
from source_tree import SourceTree, Violation, line_of

EVERYWHERE = ("",)
LIBRARIES = ("coordinator/core/", "coordinator/log/", "coordinator/http/", "participant-sdk/src/",
             "participant-sdk/include/")
PRODUCT = ("coordinator/", "participant-sdk/")


@dataclass(frozen=True)
class Ban:
    pattern: str
    reason: str
    folders: tuple[str, ...]
    example: str
    reads_comments: bool = False  # a comment can be what makes it right


CPP_BANS = (
    Ban(r"\bstd::(?:cout|cerr|clog)\b", "a library reports through its caller or the logger", LIBRARIES,
        "void f() { std::cout << 1; }"),
    Ban(r"(?<![\w:])(?:std::)?(?:printf|puts|fprintf)\s*\(", "a library reports through its caller or the logger",
        LIBRARIES, 'void f() { printf("x"); }'),
    Ban(r"\busing\s+namespace\s+std\s*;", "names are written where they come from", EVERYWHERE,
        "using namespace std;"),
    Ban(r"\.detach\s*\(\s*\)", "every thread has an owner that joins it", EVERYWHERE, "void f() { t.detach(); }"),
    Ban(r"\b(?:std::)?(?:strcpy|strcat|sprintf|gets|strtok|atoi|atol|atof|rand|srand|localtime|gmtime)\s*\(",
        "unbounded, unchecked or not thread safe", EVERYWHERE, "int f() { return std::atoi(x); }"),
    Ban(r"\bstd::(?:regex|regex_match|regex_search)\b", "recursion on untrusted input overflows the stack", PRODUCT,
        "std::regex r;"),
    Ban(r"\bstd::async\b", "its future blocks in the destructor and its thread has no name", EVERYWHERE,
        "auto f = std::async(g);"),
    Ban(r"(?:system|steady|high_resolution)_clock::now\s*\(", "time reaches the core as an event",
        ("coordinator/core/",), "auto t = std::chrono::steady_clock::now();"),
    Ban(r"\bassert\s*\(", "use an assertion that stays on in release builds", PRODUCT, "void f() { assert(x); }"),
    Ban(r"\b(?:catch)\s*\(\s*\.\.\.\s*\)\s*\{\s*\}", "an exception is not dropped without a reason", EVERYWHERE,
        "void f() { try { g(); } catch (...) {} }", reads_comments=True),
)

# The one place of the core that speaks before the process stops.
FAILED_ASSERTION = "coordinator/core/assert.cpp"

SLEEPS = re.compile(
    r"\b(?:sleep_for|sleep_until|usleep|nanosleep)\s*\(|(?<![\w.])sleep\s*\(|\btime\.sleep\s*\(|\bpg_sleep\s*\(")

UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")


def banned_calls_are_not_used(tree: SourceTree) -> list[Violation]:
    found = []
    for ban in CPP_BANS:
        for path, text in tree.below(*ban.folders).items():
            if path == FAILED_ASSERTION:
                continue
            code = text if ban.reads_comments else without_comments_and_literals(text)
            for match in re.finditer(ban.pattern, code):
                found.append(Violation(path, line_of(text, match.start()), f"{match[0].strip()}: {ban.reason}"))
    return found


def allowed_sleeps(tree: SourceTree) -> dict[str, str]:
    """tests/house/allowed_sleeps.txt: 'path: reason' a line."""
    allowed = {}
    for line in (tree.text("tests/house/allowed_sleeps.txt") or "").splitlines():
        path, separator, reason = line.partition(":")
        if separator and not line.startswith("#") and reason.strip():
            allowed[path.strip()] = reason.strip()
    return allowed


def nothing_sleeps_without_a_reason(tree: SourceTree) -> list[Violation]:
    """Waiting is for a condition. The few loops that must poll are listed, each with its reason."""
    found = []
    allowed = allowed_sleeps(tree)
    used = set()
    files = tree.below("coordinator/", "participant-sdk/", "tests/", "scripts/", suffixes=(".cpp", ".hpp", ".py"))
    for path, text in files.items():
        if path.startswith("tests/house/"):
            continue
        code = text if path.endswith(".py") else without_comments_and_literals(text)
        for match in SLEEPS.finditer(code):
            used.add(path)
            if path not in allowed:
                found.append(Violation(path, line_of(code, match.start()), "sleeps; wait for a condition instead"))
    for path in sorted(set(allowed) - used):
        found.append(Violation("tests/house/allowed_sleeps.txt", 1, f"{path} does not sleep any more"))
    return found


def nothing_is_left_unfinished(tree: SourceTree) -> list[Violation]:
    found = []
    for path, text in tree.files.items():
        for match in UNFINISHED.finditer(text):
            found.append(Violation(path, line_of(text, match.start()), f"{match[0]}: finish it or open an issue"))
    return found


CHECKS = {
    banned_calls_are_not_used: [{f"{ban.folders[0] or 'tests/'}a.cpp": ban.example + "\n"} for ban in CPP_BANS],
    nothing_sleeps_without_a_reason: [
        {"tests/unit/a.cpp": "void f() { std::this_thread::sleep_for(1s); }\n"},
        {"tests/integration/a.py": "time.sleep(1)\n"},
        {"tests/house/allowed_sleeps.txt": "tests/unit/gone.cpp: polls\n"},
    ],
    nothing_is_left_unfinished: [{"a.cpp": "// TO" "DO later\n"}, {"docs/a.md": "FIX" "ME\n"}],
}
