"""A whole installation on one machine: coordinator nodes and the two example services.

What: starts the real programs on free ports of 127.0.0.1, each with a data directory and a log file of its
own below one folder, and can kill, pause and start every one of them again.
Why one module: scripts/demo, tests/bench/run, the order tests and the fault tests must all mean the same by
"three nodes and both services".

    with Cluster(3, folder) as cluster:
        cluster.start()
        leader = cluster.wait_for_leader()
        leader.kill(); leader.start()

Waiting is always for a condition, with a deadline that a busy machine does not reach; what was waited for and
the tail of every log is in the error. Threads: one owner; the read-only helpers may be called from any thread.
Processes die with this one (unless keep=True), so that nothing is left running.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ports import free_ports

SOURCE = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class StackFailure(Exception):
    """A program did not do what was waited for; the message says what, and quotes its log."""


def build_directory() -> Path:
    return Path(os.environ.get("CONCORDAT_BUILD_DIR", SOURCE / "build" / "release"))


def program(name: str) -> Path:
    path = build_directory() / "bin" / name
    if not path.exists():
        raise StackFailure(f"{path} is missing; build it first")
    return path


def wait_until(condition, what: str, seconds: float = DEADLINE_SECONDS, explain=None):
    """Polls until the condition returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            detail = explain() if explain else ""
            raise StackFailure(f"waited {seconds:.0f} s in vain: {what}\n{detail}")
        time.sleep(_POLL_SECONDS)


# ------------------------------------------------------------------------------------------------ HTTP


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; status 0 means that none came, and `text` says why."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self):
        return json.loads(self.text)

    def member(self, name: str):
        """A member of the JSON body; None when there is no such body."""
        try:
            return self.json.get(name)
        except (ValueError, AttributeError):
            return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


# Without a proxy, whatever the environment says: everything here is on the loopback interface.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def call(method: str, url: str, body=None, timeout: float = 30.0, headers: dict | None = None) -> Answer:
    """One request. Never raises for what a server or the network does."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with _OPENER.open(request, timeout=timeout) as response:
            return Answer(response.status, _lower(response.headers), response.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            try:
                text = error.read().decode(errors="replace")
            except OSError as broken:
                return Answer(0, {}, str(broken))
            return Answer(error.code, _lower(error.headers), text)
    except (OSError, urllib.error.URLError, ValueError, http_exception()) as error:
        return Answer(0, {}, f"{type(error).__name__}: {error}")


def http_exception():
    import http.client

    return http.client.HTTPException


def _lower(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def metric(url: str, name: str) -> float | None:
    """Sum of the series of one metric at a node; None when the node does not answer."""
    answer = call("GET", f"{url}/metrics", timeout=5)
    if answer.status != 200:
        return None
    total = None
    for line in answer.text.splitlines():
        series, _, value = line.rpartition(" ")
        if series == name or series.startswith(name + "{"):
            total = (total or 0.0) + float(value)
    return total


# ------------------------------------------------------------------------------------------- processes


def _die_with_parent(parent: int):
    def prepare():
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


class Program:
    """One process that can be started, killed, paused and started again with the same arguments."""

    def __init__(self, name: str, command: list, log: Path, keep: bool = False, prepare=None) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.keep = keep
        self.prepare = prepare  # runs in the child before the program, for resource limits
        self.process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise StackFailure(f"{self.name} was never started")
        return self.process.pid

    def start(self) -> None:
        if self.is_running():
            raise StackFailure(f"{self.name} is running already")
        setups = [] if self.keep else [_die_with_parent(os.getpid())]
        if self.prepare:
            setups.append(self.prepare)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.log.parent,
                start_new_session=True, preexec_fn=(lambda: [step() for step in setups]) if setups else None)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number: int) -> None:
        if self.is_running():
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9; returns when the process is gone."""
        if self.is_running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def pause(self) -> None:
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def terminate(self, seconds: float = DEADLINE_SECONDS) -> int | None:
        """SIGTERM; the exit code, or None when it was not running. Killed after the deadline."""
        if not self.is_running():
            return None
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise StackFailure(f"{self.name} did not stop within {seconds} s\n{self.log_tail()}") from None

    def wait_for_exit(self, seconds: float = DEADLINE_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StackFailure(f"{self.name} is still running\n{self.log_tail()}") from None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 15) -> str:
        tail = self.log_text().splitlines()[-lines:]
        return "\n".join([f"--- {self.name} ({self.log.name}):", *tail])

    def wait_for_url(self, url: str, seconds: float = DEADLINE_SECONDS) -> None:
        """Until the URL answers 200; at once an error when the process has ended."""

        def ready():
            if not self.is_running():
                code = self.process.returncode if self.process else None
                raise StackFailure(f"{self.name} ended with code {code}\n{self.log_tail()}")
            return call("GET", url, timeout=5).status == 200

        wait_until(ready, f"{self.name} answers {url}", seconds, self.log_tail)


# --------------------------------------------------------------------------------------- coordinators


class Node(Program):
    """One coordinator node."""

    def __init__(self, number: int, api_port: int, peer_port: int, members: list[str], folder: Path,
                 settings: dict[str, str], keep: bool = False) -> None:
        self.number = number
        self.url = f"http://127.0.0.1:{api_port}"
        self.data = folder / f"node-{number}"
        command = [
            program("concordatd"), "--node-id", number, "--cluster", "stack", "--data", self.data,
            "--listen", f"127.0.0.1:{api_port}"]
        if len(members) > 1:
            command += ["--peer-listen", f"127.0.0.1:{peer_port}"]
            for member in members:
                command += ["--member", member]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        super().__init__(f"node {number}", command, folder / f"node-{number}.log", keep)

    def wait_until_ready(self) -> None:
        self.wait_for_url(f"{self.url}/readyz")

    def is_serving_leader(self) -> bool:
        return self.is_running() and metric(self.url, "concordat_serving") == 1


class Cluster:
    """Coordinator nodes 1..count. close() ends them; their data stays until the folder is removed."""

    def __init__(self, count: int, folder: Path, settings: dict[str, str] | None = None,
                 keep: bool = False) -> None:
        ports = free_ports(2 * count)
        apis, peers = ports[:count], ports[count:]
        members = [f"{number + 1},127.0.0.1:{peers[number]},http://127.0.0.1:{apis[number]}"
                   for number in range(count)]
        self.nodes = [Node(number + 1, apis[number], peers[number], members, folder, settings or {}, keep)
                      for number in range(count)]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def start(self) -> None:
        """Starts all nodes and returns when there is a leader that takes work."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_until_ready()
        self.wait_for_leader()

    def leader(self) -> Node | None:
        """The node that serves as leader now, if exactly one of the running nodes says so."""
        serving = [node for node in self.nodes if node.is_serving_leader()]
        return serving[0] if len(serving) == 1 else None

    def wait_for_leader(self, seconds: float = DEADLINE_SECONDS) -> Node:
        return wait_until(self.leader, "one leader takes work", seconds, self.log_tails)

    def follower(self) -> Node:
        """A running node that is not the leader."""
        leader = self.wait_for_leader()
        return next(node for node in self.nodes if node is not leader and node.is_running())

    def restart_the_dead(self) -> None:
        for node in self.nodes:
            if not node.is_running():
                node.start()
        for node in self.nodes:
            node.wait_until_ready()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()

    def log_tails(self) -> str:
        return "\n".join(node.log_tail() for node in self.nodes)


def register_participant(cluster: Cluster, name: str, base_url: str, **limits) -> None:
    """Names a participant to the coordinator; waits for a leader as long as there is none."""

    def registered():
        answer = call("PUT", f"{cluster.nodes[0].url}/v1/participants/{name}", {"base_url": base_url, **limits})
        if 400 <= answer.status < 500:
            raise StackFailure(f"participant {name} refused: {answer.text}")
        return 200 <= answer.status < 300

    wait_until(registered, f"participant {name} is registered", explain=cluster.log_tails)
