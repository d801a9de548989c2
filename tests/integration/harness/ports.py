"""Ports on 127.0.0.1 for programs that are killed and started again.

A port that the system chose for `bind(0)` may be lent to any outgoing connection as soon as its program is down;
the program then cannot come back. So these lie below the range from which the system lends. Test processes that run
at the same time draw from slices of their own, for a port is free until its program has bound it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import random
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

LOWEST = 20_000
SLICE = 1_000
_LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_locks = []  # held for as long as this process lives


def _own_slice() -> list[int]:
    """One that no other process has taken; all ports if each has an owner, 0 if there are none below the lent ones."""
    first_lent = int(_LENT.read_text(encoding="ascii").split()[0]) if _LENT.exists() else 0
    for first in range(LOWEST, first_lent - SLICE + 1, SLICE):
        try:
            lock = open(Path(tempfile.gettempdir()) / f"concordat-test-ports-{first}", "w", encoding="ascii")
        except PermissionError:
            continue  # another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        return list(range(first, first + SLICE))
    return list(range(LOWEST, first_lent)) or [0]


def _candidates() -> Iterator[int]:
    ports = _own_slice()
    random.shuffle(ports)
    return itertools.cycle(ports)


_next_candidates = _candidates()
_drawing = threading.Lock()


def free_ports(count: int) -> list[int]:
    """Ports that nothing is bound to now, and that are different from each other.

    A port is not given again before all others were, for its program may take a while to bind it, and another thread
    may ask meanwhile.
    """
    with _drawing, contextlib.ExitStack() as held:
        found = []
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", next(_next_candidates)))
                found.append(probe.getsockname()[1])
        return found
