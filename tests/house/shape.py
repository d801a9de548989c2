"""Size and layout of C++ files."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from cpp_scanner import functions
from source_tree import SourceTree, Violation

MAXIMUM_FILE_LINES = 600
MAXIMUM_FUNCTION_LINES = 70
FORMATTER = "clang-format-19"


def files_are_short(tree: SourceTree) -> list[Violation]:
    found = []
    for path, text in tree.below("", suffixes=(".cpp", ".hpp", ".py")).items():
        lines = text.count("\n")
        if lines > MAXIMUM_FILE_LINES:
            found.append(Violation(path, lines, f"{lines} lines; at most {MAXIMUM_FILE_LINES}"))
    return found


def functions_are_short(tree: SourceTree) -> list[Violation]:
    return [
        Violation(path, function.line,
                  f"{function.name} has {function.length} lines; at most {MAXIMUM_FUNCTION_LINES}")
        for path, text in tree.below("").items()
        for function in functions(text)
        if function.length > MAXIMUM_FUNCTION_LINES
    ]


def headers_are_guarded(tree: SourceTree) -> list[Violation]:
    return [
        Violation(path, 1, "#pragma once is missing")
        for path, text in tree.below("", suffixes=(".hpp", ".h")).items()
        if "#pragma once" not in text
    ]


def code_is_formatted(tree: SourceTree) -> list[Violation]:
    formatter = shutil.which(FORMATTER)
    if formatter is None:
        return [Violation(".clang-format", 1, f"{FORMATTER} is not installed")]
    if tree.root is not None:
        return _unformatted(formatter, tree.root, sorted(tree.below("")))
    style = Path(__file__).resolve().parents[2] / ".clang-format"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(style, root)
        for path, text in tree.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return _unformatted(formatter, root, sorted(tree.below("")))


def _unformatted(formatter: str, root: Path, paths: list[str]) -> list[Violation]:
    if not paths:
        return []
    output = subprocess.run(
        [formatter, "--dry-run", "--ferror-limit=1", *paths], cwd=root, capture_output=True, text=True,
        check=False).stderr
    first_lines: dict[str, int] = {}
    for line in output.splitlines():
        if "-Wclang-format-violations" in line:
            path, number = line.split(":")[:2]
            first_lines.setdefault(path, int(number))
    return [Violation(path, line, f"run {FORMATTER} -i {path}") for path, line in first_lines.items()]


_LONG_FUNCTION = "void f(int a) {\n" + "    a += 1;\n" * 70 + "}\n"

CHECKS = {
    files_are_short: [{"coordinator/core/a.cpp": "int a;\n" * 601}],
    functions_are_short: [
        {"a.cpp": _LONG_FUNCTION},
        {"a.cpp": "namespace x {\nclass Y {\n    Y() : a_{1}, b_(2) {\n" + "        f();\n" * 70 + "    }\n};\n}\n"},
        {"a.cpp": "TEST(Subject, does_it) {\n    auto s = R\"({{{)\";\n" + "    // {\n" * 70 + "}\n"},
    ],
    headers_are_guarded: [{"a.hpp": "int a();\n"}],
    code_is_formatted: [{"a.cpp": "int  a( ){return 1 ;}\n"}],
}
