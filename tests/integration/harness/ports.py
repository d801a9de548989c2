"""Ports on 127.0.0.1 for programs that are killed and started again.

A port that the system chose for `bind(0)` may be lent to any outgoing connection as soon as its program is down;
the program then cannot come back. So these lie below the range from which the system lends.
"""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

LOWEST = 20_000
_LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Ports that nothing is bound to now, and that are different from each other."""
    first_lent = int(_LENT.read_text(encoding="ascii").split()[0]) if _LENT.exists() else 0
    candidates = list(range(LOWEST, first_lent)) or [0]
    with contextlib.ExitStack() as held:
        found = []
        while len(found) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.choice(candidates)))
                found.append(probe.getsockname()[1])
        return found
