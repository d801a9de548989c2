"""How the demo talks: chapters with numbers, and lines that are printed only when they are true."""

from __future__ import annotations

import itertools

_numbers = itertools.count(1)


class DemoFailure(Exception):
    """The story did not go as told; the message says what was expected."""


def say(text: str = "") -> None:
    print(text, flush=True)


def chapter(title: str) -> None:
    say(f"\n{next(_numbers)}. {title}")


def done(text: str) -> None:
    say(f"   \u2713 {text}")


def expect(condition: bool, text: str) -> None:
    if not condition:
        raise DemoFailure(f"expected: {text}")
    done(text)
