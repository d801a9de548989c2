"""A participant without a database that can be told to misbehave.

What: serves the participant contract on a free port of 127.0.0.1, votes yes, remembers every call, and does what
a test scripts instead: any status and body, silence, a reset connection, megabytes of rubbish.

    with FakeParticipant() as orders:
        orders.script("prepare", answer(500), answer(200, vote="yes"))   # first call, then all later ones
        ...
        assert [call.operation for call in orders.calls] == ["prepare", "prepare", "commit"]

Threads: one per connection; `calls` may be read from any. close() ends them all, hanging ones included.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Call:
    """One request as it arrived; `at` is monotonic."""

    operation: str
    xid: str
    branch: int
    body: dict
    raw: bytes
    headers: dict
    at: float


@dataclass(frozen=True)
class Behaviour:
    """What to do with one call; see the functions below."""

    kind: str = "answer"
    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)


def answer(status: int, headers: dict | None = None, raw: bytes | None = None, **members) -> Behaviour:
    """An answer of the contract, or any bytes when `raw` is given."""
    body = json.dumps({"status": status, **members}).encode() if raw is None else raw
    return Behaviour("answer", status, body, dict(headers or {}))


def hang() -> Behaviour:
    """No answer at all until the participant is closed."""
    return Behaviour("hang")


def reset() -> Behaviour:
    """The connection is reset after the request was read."""
    return Behaviour("reset")


DEFAULTS = {
    "prepare": answer(200, vote="yes"),
    "pre-commit": answer(200),
    "commit": answer(200, outcome="committed"),
    "abort": answer(200, outcome="aborted"),
    "commit-one-phase": answer(200, outcome="committed"),
    "learn": answer(200),
}


class FakeParticipant:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._scripts: dict[str, list[Behaviour]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        participant = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                participant._serve(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a peer that went away is none of the test's business

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __enter__(self) -> FakeParticipant:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def script(self, operation: str, *behaviours: Behaviour) -> None:
        """The first call does the first behaviour and so on; the last one stays."""
        with self._lock:
            self._scripts[operation] = list(behaviours)

    def of(self, xid: str, operation: str | None = None) -> list[Call]:
        with self._lock:
            return [call for call in self.calls
                    if call.xid == xid and operation in (None, call.operation)]

    # ------------------------------------------------------------------------------------- internals

    def _next(self, operation: str) -> Behaviour:
        script = self._scripts.get(operation)
        if not script:
            return DEFAULTS[operation]
        return script.pop(0) if len(script) > 1 else script[0]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        _, _, _, xid, branch, operation = request.path.split("/")
        with self._lock:
            self.calls.append(Call(operation, xid, int(branch), json.loads(raw), raw,
                                   {name.lower(): value for name, value in request.headers.items()},
                                   time.monotonic()))
            behaviour = self._next(operation)
        if behaviour.kind == "hang":
            self._closed.wait()
            request.close_connection = True
            return
        if behaviour.kind == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            request.close_connection = True
            return
        request.send_response(behaviour.status)
        for name, value in behaviour.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(behaviour.body)))
        request.end_headers()
        request.wfile.write(behaviour.body)
