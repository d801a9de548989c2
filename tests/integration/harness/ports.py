"""Ports on 127.0.0.1 for programs that are killed and started again.

A port that the system chose for `bind(0)` may be lent to any outgoing connection as soon as its program is down;
the program then cannot come back. So these lie below the range from which the system lends.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

LOWEST = 20_000
_LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _candidates() -> Iterator[int]:
    first_lent = int(_LENT.read_text(encoding="ascii").split()[0]) if _LENT.exists() else 0
    ports = list(range(LOWEST, first_lent)) or [0]
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
