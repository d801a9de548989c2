"""A concordat-relay process, and the other programs of this folder, as the tests drive them."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
PROGRAMS = Path(os.environ.get("CONCORDAT_BUILD_DIR", SOURCE / "build" / "release")) / "bin"
# Shorter for those who expect a failure (techniques.py).
PATIENCE_SECONDS = int(os.environ.get("CONCORDAT_RELAY_PATIENCE", "30"))

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH, WALL = 16, 17, 0x40000000  # sys/ptrace.h, sys/wait.h


def pause(seconds):
    """For what has no condition to wait for: that nothing happens meanwhile."""
    time.sleep(seconds)


def wait_until(condition, what, seconds=PATIENCE_SECONDS):
    """Returns the first true value of condition(); fails with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def trace(request, thread):
    """ptrace(2) without address and data."""
    if LIBC.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace request {request} of {thread}")


class Relay:
    """One relay on one database. Options are given as section__key=value."""

    def __init__(self, folder, url, bootstrap, **options):
        settings = {
            "database__conninfo": url,
            "kafka__bootstrap_servers": bootstrap,
            "http__port": 0,
            "http__admin": "true",
            "log__level": "info",
        }
        settings.update(options)
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"relay-{time.monotonic_ns()}.log"
        arguments = [f"--{name.replace('__', '.', 1)}={value}" for name, value in settings.items()]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "concordat-relay", *arguments], stdin=subprocess.DEVNULL, stderr=log)
        self.port = wait_until(lambda: self.event("started") or self._ended(), self.log)["http_port"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    # -------------------------------------------------------------- life

    def terminate(self, seconds=15):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def loop_held(self):
        """The relay's loop, its first thread, stands still; the threads of its Kafka client go on.

        By ptrace, which stops a single thread of a process of one's own; a signal would stop all of them.
        """
        thread = self.process.pid
        trace(PTRACE_ATTACH, thread)
        os.waitpid(thread, WALL)
        try:
            yield
        finally:
            trace(PTRACE_DETACH, thread)

    def memory_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024

    # -------------------------------------------------------------- what it says

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def events(self, name):
        found = []
        for line in self.log().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a line that is being written
            if entry.get("event") == name:
                found.append(entry)
        return found

    def event(self, name):
        return next(iter(self.events(name)), None)

    def get(self, path):
        """(status, parsed body)"""
        return self._call(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def post(self, path, body):
        return self._call(urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode(), method="POST",
            headers={"Content-Type": "application/json"}))

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def metric(self, name):
        return self.metrics()[f"concordat_outbox_{name}"]

    def reasons(self):
        """What /readyz gives as reasons for not being ready."""
        status, body = self.get("/readyz")
        assert (status == 503) == bool(body["reasons"])
        return body["reasons"]

    def wait_ready(self):
        wait_until(lambda: self.get("/readyz")[0] == 200, self.log)

    def _call(self, request):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def _ended(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the relay ended with {self.process.returncode}:\n{self.log()}")


def probe(*arguments):
    """Runs kafka_probe; its output."""
    done = subprocess.run([PROGRAMS / "kafka_probe", *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def records(bootstrap, *topics):
    """Every record of the topics, in offset order within each partition."""
    return [json.loads(line) for line in probe("dump", bootstrap, *topics).splitlines()]


def header(record, name):
    return next((value for key, value in record["headers"] if key == name), None)


class MockCluster:
    """librdkafka's mock cluster in a process of its own."""

    def __init__(self, partitions, *topics):
        self.process = subprocess.Popen(
            [PROGRAMS / "kafka_probe", "mock", str(partitions), *topics], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.bootstrap = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "ok"


class Worker:
    """An inbox_worker process."""

    def __init__(self, folder, bootstrap, url, topic, *arguments):
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / "inbox_worker", "--bootstrap", bootstrap, "--url", url, "--topic", topic,
                 *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def terminate(self):
        """SIGTERM; its counts."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, self.log()
        return json.loads(output)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
