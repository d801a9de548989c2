"""The files of the project as the house checks see them: path -> text."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

CPP_SUFFIXES = (".cpp", ".hpp", ".h", ".cc")
TEXT_SUFFIXES = CPP_SUFFIXES + (
    ".py", ".sh", ".md", ".yaml", ".yml", ".json", ".txt", ".cmake", ".proto", ".sql", ".pml", ".tpl", ".service", "")


@dataclass(frozen=True)
class Violation:
    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class SourceTree:
    """A set of files; made from the repository, or from a dictionary in the checks' own tests."""

    def __init__(self, files: dict[str, str], root: Path | None = None) -> None:
        self.files = files
        self.root = root

    @staticmethod
    def of_repository(root: Path) -> SourceTree:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        files = {}
        for name in sorted(filter(None, listed)):
            path = root / name
            if path.is_file() and (path.suffix in TEXT_SUFFIXES):
                try:
                    files[name] = path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    continue  # test data, such as a fuzz corpus
        return SourceTree(files, root)

    def text(self, path: str) -> str | None:
        return self.files.get(path)

    def below(self, *folders: str, suffixes: tuple[str, ...] = CPP_SUFFIXES) -> dict[str, str]:
        """Files under any of the folders ('' is everything) with one of the suffixes."""
        return {
            path: text
            for path, text in self.files.items()
            if path.endswith(suffixes) and any(path.startswith(folder) for folder in folders)
        }


def line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
