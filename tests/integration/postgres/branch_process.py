"""Drives branch_service processes over the participant contract, and plays the coordinator they inquire at."""

import http.client
import http.server
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
PROGRAM = Path(os.environ.get("CONCORDAT_BUILD_DIR", SOURCE / "build" / "release")) / "bin" / "branch_service"
WAIT_SECONDS = 20
NUMBERS = itertools.count(1)


def wait_until(condition, what, seconds=WAIT_SECONDS):
    """Polls until the condition holds and returns what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen in {seconds} s: {what}"
        time.sleep(0.01)


class Answer:
    def __init__(self, status, text):
        self.status = status
        self.text = text
        self.body = json.loads(text) if text else {}

    @property
    def vote(self):
        return self.body.get("vote")

    @property
    def outcome(self):
        return self.body.get("outcome")

    @property
    def reason(self):
        return self.body.get("reason", "")

    def __repr__(self):
        return f"{self.status} {self.text}"


def exchange(port, method, target, body=None, headers=None, timeout=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        payload = json.dumps(body) if body is not None else None
        sent = {"Content-Type": "application/json"} if payload else {}
        connection.request(method, target, payload, sent | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


class BranchService:
    """One process: a replica of a participant, or another participant with a database of its own."""

    def __init__(self, url, port=0, **options):
        self.url = url
        self.options = options
        self.port = port
        self.lines = []
        self.start()

    def start(self):
        command = [str(PROGRAM), "--database", self.url, "--port", str(self.port)]
        for name, value in self.options.items():
            for one in value if isinstance(value, list) else [value]:
                command += [f"--{name.replace('_', '-')}", str(one)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        assert first.startswith("listening"), self.process.stderr.read()
        self.port = int(first.split()[1])
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.close_pipes()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(WAIT_SECONDS)
        self.close_pipes()
        assert status in (0, -signal.SIGKILL), f"ended with {status}"

    def close_pipes(self):
        self.process.wait(WAIT_SECONDS)
        self.reader.join(WAIT_SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()

    def operation(self, name, xid, branch=0, epoch=1, attempt=1, **members):
        body = {"operation": name, "epoch": epoch, "attempt": attempt, **members}
        return exchange(self.port, "POST", f"/v1/branches/{xid}/{branch}/{name}", body)

    def prepare(self, xid, *steps, branch=0, vote="yes", epoch=1, context=None, **payload):
        return self.operation(
            "prepare", xid, branch, epoch, payload={"steps": list(steps), "vote": vote, **payload},
            **(context or {}),
        )

    def commit(self, xid, branch=0):
        return self.operation("commit", xid, branch)

    def abort(self, xid, branch=0):
        return self.operation("abort", xid, branch)

    def ballot(self, step, xid, branch, ballot, capability, value=None):
        body = {"ballot": {"round": ballot[0], "proposer": ballot[1]}, "capability": capability}
        if value:
            body["value"] = value
        return exchange(self.port, "POST", f"/v1/branches/{xid}/{branch}/ballots/{step}", body)

    def state(self, xid, branch=0, capability=""):
        answer = exchange(
            self.port, "GET", f"/v1/branches/{xid}/{branch}", headers={"Concordat-Capability": capability}
        )
        return answer.body.get("state") if answer.status == 200 else answer.status

    def until_done(self, call):
        """Repeats a delivery as the coordinator does: as long as the answer is "later" or unknown."""
        return wait_until(lambda: (lambda a: a if a.status not in (500, 503) else None)(call()), "an answer")


class Database:
    """A database with one table, and the processes that a test starts on it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.name = f"branches_{next(NUMBERS)}"
        self.services = []
        cluster.create_database(self.name)
        self.execute("CREATE TABLE item (name text, value bigint)")

    @property
    def url(self):
        return self.cluster.url(self.name)

    def service(self, **options):
        service = BranchService(options.pop("url", self.url), **options)
        self.services.append(service)
        return service

    def execute(self, sql):
        return self.cluster.execute(self.name, sql)

    def count(self, name="a"):
        return self.execute(f"SELECT count(*) FROM item WHERE name = '{name}'")[0][0]

    def prepared(self):
        return self.cluster.prepared_transactions(self.name)

    def alarms(self):
        return self.execute("SELECT xid, kind FROM concordat_alarm ORDER BY xid, kind")

    def close(self):
        for service in self.services:
            if service.process.poll() is None:
                service.stop()
        if not self.cluster.is_running():
            self.cluster.start()
        self.cluster.drop_database(self.name)


class FakeCoordinator:
    """Answers inquiries from a table; an xid that is not in it is undecided."""

    def __init__(self):
        self.outcomes = {}
        self.inquiries = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                xid = self.path.rsplit("/", 1)[1]
                outer.inquiries.append(xid)
                outcome = outer.outcomes.get(xid, "undecided")
                body = json.dumps({"xid": xid, "outcome": outcome}).encode()
                self.send_response(202 if outcome == "undecided" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
