"""A throw-away PostgreSQL 15 cluster for tests.

What: initdb in a directory of its own, a free port on 127.0.0.1 and a unix socket in the
same directory, prepared transactions enabled, durable settings on. The cluster can be stopped, killed the
hard way and started again on the same port, and it is removed with close().

Why a real server: the traps of prepared transactions show only there.

    with PostgresCluster(max_connections=100) as cluster:
        cluster.create_database("orders")
        cluster.url("orders")                     # postgresql://concordat@127.0.0.1:PORT/orders
        cluster.execute("orders", "SELECT 1")     # list of tuples
        cluster.kill(); cluster.start()           # crash recovery; prepared transactions survive

Threads: one owner. Failures raise PostgresFailure with the server's log in the message; nothing is retried
silently. PostgreSQL refuses to run as root, so root becomes the system user `postgres` for the server.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from ports import free_ports

START_SECONDS = 60
STOP_SECONDS = 60


class PostgresFailure(Exception):
    """The server could not be made, started or stopped; the message carries its log."""


def _bin_directory():
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    candidates = [path for path in candidates if (path / "initdb").exists()]
    if not candidates:
        raise PostgresFailure("no PostgreSQL server below /usr/lib/postgresql; run scripts/setup")
    exact = [path for path in candidates if path.parent.name == "15"]
    return (exact or candidates)[0]


class PostgresCluster:
    """One server. Usable as a context manager; close() stops it and removes its directory."""

    def __init__(self, max_prepared_transactions=200, max_connections=200, settings=None, start=True):
        self.binaries = _bin_directory()
        self.directory = Path(tempfile.mkdtemp(prefix="concordat-pg-"))
        self.data = self.directory / "data"
        self.log = self.directory / "server.log"
        self.port, = free_ports(1)
        self.user = "concordat"
        self._account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self._account:
            os.chown(self.directory, self._account.pw_uid, self._account.pw_gid)
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "max_prepared_transactions": max_prepared_transactions,
            "max_connections": max_connections,
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] ",
        }
        self.settings.update(settings or {})
        try:
            self._initialise()
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -------------------------------------------------------------- life cycle

    def start(self):
        """Starts the server and returns when it takes connections."""
        for attempt in range(5):
            try:
                self._run(
                    "pg_ctl", "start", "-D", self.data, "-l", self.log, "-w", "-t", str(START_SECONDS),
                    "-o", f"-p {self.port}",
                )
                return
            except PostgresFailure:
                # Another process took the port between the choice and the bind, or its last owner lingers.
                if attempt == 4 or "Address already in use" not in self._log_tail():
                    raise
                time.sleep(0.2)

    def stop(self, mode="fast"):
        """Orderly stop: smart, fast or immediate."""
        self._run("pg_ctl", "stop", "-D", self.data, "-m", mode, "-w", "-t", str(STOP_SECONDS))

    def kill(self):
        """kill -9 of the postmaster and of every backend: the crash that recovery must survive."""
        # It must not start another backend between the census and its end: that one would go on beside the next server.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(), signal.SIGSTOP)
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_SECONDS
        for pid in pids:
            while _is_alive(pid):
                if time.monotonic() > deadline:
                    raise PostgresFailure(f"process {pid} of the server does not die")
                time.sleep(0.01)
        # Where nothing collects orphans the dead postmaster still answers kill(pid, 0), and a new one would
        # take its lock files for those of a living server.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self.directory / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def restart(self):
        self.stop()
        self.start()

    def reload(self, **settings):
        """ALTER SYSTEM for settings that need no restart."""
        for name, value in settings.items():
            self.execute("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("postgres", "SELECT pg_reload_conf()")

    def is_running(self):
        try:
            return _is_alive(self.pid())
        except PostgresFailure:
            return False

    def pid(self):
        """Process id of the postmaster."""
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError) as error:
            raise PostgresFailure("the server is not running") from error

    def pids(self):
        """Process ids of the postmaster and of every process it started."""
        main = self.pid()
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(main)], capture_output=True, text=True, check=False
        ).stdout.split()
        return [main, *map(int, children)]

    def close(self):
        """Stops the server and removes everything. Safe to call twice."""
        try:
            if self.is_running():
                self.kill()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    # -------------------------------------------------------------- databases

    def create_database(self, name):
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            raise ValueError(f"not a database name: {name}")
        self.execute("postgres", f'CREATE DATABASE "{name}"')

    def drop_database(self, name):
        """Rolls back what is still prepared there, which would forbid the drop, and drops it."""
        for (gid,) in self.execute(
            "postgres", f"SELECT gid FROM pg_prepared_xacts WHERE database = '{name}'"
        ):
            self.execute(name, f"ROLLBACK PREPARED '{gid}'")
        self.execute("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, database="postgres"):
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database="postgres"):
        return f"postgresql:///{database}?host={self.directory}&port={self.port}&user={self.user}"

    def execute(self, database, sql):
        """Runs one statement in autocommit mode and returns its rows as tuples of text-decoded values."""
        import psycopg  # only tests that look into the database need the driver

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def prepared_transactions(self, database=None):
        """gids that are prepared now; of one database, or of the whole cluster."""
        where = f" WHERE database = '{database}'" if database else ""
        rows = self.execute("postgres", f"SELECT gid FROM pg_prepared_xacts{where} ORDER BY gid")
        return [gid for (gid,) in rows]

    # -------------------------------------------------------------- internals

    def _initialise(self):
        self._run(
            "initdb", "-D", self.data, "-U", self.user, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
        )
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as configuration:
            configuration.write("\n" + "\n".join(lines) + "\n")

    def _run(self, program, *arguments):
        command = [str(self.binaries / program), *map(str, arguments)]
        account = {}
        if self._account:
            account = {
                "user": self._account.pw_uid,
                "group": self._account.pw_gid,
                "extra_groups": [],
                "env": {"PATH": os.environ.get("PATH", ""), "HOME": str(self.directory), "LC_ALL": "C"},
            }
        # The server inherits the descriptors of pg_ctl: a pipe would keep the reader waiting for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.directory,
                start_new_session=True, check=False, **account,
            )
            if done.returncode != 0:
                output.seek(0)
                raise PostgresFailure(f"{program} failed:\n{output.read()}\n{self._log_tail()}")

    def _log_tail(self):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
        except FileNotFoundError:
            return "(no server log)"


def _is_alive(pid):
    """False for a process that has ended, also when nobody has collected it yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
