"""Just enough C++ reading for the house checks: blanking comments and literals, finding functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LITERAL_OR_COMMENT = re.compile(
    r"""
    //[^\n]*                                             # line comment
    | /\*.*?\*/                                          # block comment
    | R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"         # raw string
    | "(?:\\.|[^"\\\n])*"                                # string
    | (?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'                # character; 1'000 is a number
    """,
    re.VERBOSE | re.DOTALL,
)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def without_comments(text: str) -> str:
    """Comments become spaces; strings stay; every offset and line number stays true."""
    return _LITERAL_OR_COMMENT.sub(
        lambda match: _blank(match[0]) if match[0].startswith("/") else match[0], text)


def without_comments_and_literals(text: str) -> str:
    """Comments and the insides of literals become spaces; offsets and line numbers stay true."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        if found.startswith("/"):
            return _blank(found)
        return found[0] + _blank(found[1:-1]) + found[-1]

    return _LITERAL_OR_COMMENT.sub(blank, text)


def includes(text: str) -> list[tuple[int, str]]:
    """(line number, included name with its quotes or brackets) of every #include."""
    return [
        (text.count("\n", 0, match.start()) + 1, match[1])
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(<[^>\n]+>|"[^"\n]+")', text, re.MULTILINE)
    ]


@dataclass(frozen=True)
class Function:
    name: str
    line: int  # of the opening brace
    length: int  # lines from the opening to the closing brace, both counted


_SCOPE = re.compile(
    r"^(?:\[\[.*?\]\]\s*|inline\s+|export\s+|typedef\s+|static\s+|constexpr\s+|const\s+)*"
    r"(?:namespace|class|struct|union|enum|extern)\b")


def _strip_templates(header: str) -> str:
    header = header.strip()
    while header.startswith("template"):
        start = header.find("<")
        depth = 0
        for index in range(start, len(header)):
            depth += {"<": 1, ">": -1}.get(header[index], 0)
            if depth == 0:
                header = header[index + 1:].strip()
                break
        else:
            return header
    return header


def _is_function(header: str) -> bool:
    header = _strip_templates(header)
    return ")" in header and not _SCOPE.match(header)


def _name_of(header: str) -> str:
    match = re.search(r"([~\w:]+|operator\s*\S+)\s*\(", header)
    return match[1] if match else "function"


def functions(text: str) -> list[Function]:
    """Outermost functions (lambdas belong to the function around them). Expects clang-format's layout:
    a body's brace follows a blank, the brace of a member initialiser or a value does not."""
    code = without_comments_and_literals(text)
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda match: _blank(match[0]), code, flags=re.MULTILINE)
    found: list[Function] = []
    header_start = 0
    depth_of_other = 0  # inside a body or an initialiser: how many braces are open
    current: tuple[str, int] | None = None
    keeps_header = False
    line = 1
    for index, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character == "{":
            if depth_of_other:
                depth_of_other += 1
                continue
            header = code[header_start:index]
            is_value = index > 0 and not code[index - 1].isspace() and header.strip() != ""
            if is_value or re.search(r"=\s*$", header):
                depth_of_other, keeps_header = 1, True
            elif _is_function(header):
                depth_of_other, keeps_header = 1, False
                current = (_name_of(header), line)
            else:
                header_start = index + 1
        elif character == "}":
            if depth_of_other:
                depth_of_other -= 1
                if depth_of_other == 0 and not keeps_header:
                    assert current is not None
                    found.append(Function(current[0], current[1], line - current[1] + 1))
                    current = None
                    header_start = index + 1
            else:
                header_start = index + 1
        elif character == ";" and not depth_of_other:
            header_start = index + 1
    return found
