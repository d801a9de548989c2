"""A throw-away Kafka broker (KRaft) for tests, and others that join it.

What: fetches the broker's jars by Maven into build/kafka on first use, formats a storage directory and runs
kafka.Kafka with a small heap on ports chosen by the system. It can be stopped, killed the hard way and
started again on the same port and data, and it is removed with close().

    with KafkaBroker() as broker:
        broker.bootstrap                      # 127.0.0.1:PORT
        broker.kill(); broker.start()         # recovery from its log

Threads: one owner. Failures raise KafkaFailure with the broker's log in the message.
"""

import base64
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from ports import free_ports

START_SECONDS = 240  # a broker takes two; many at once on a busy machine take their time
STOP_SECONDS = 30
FETCH_ATTEMPTS = 3  # as for the other packages, see scripts/setup
SOURCE = Path(__file__).resolve().parents[3]

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>concordat.tests</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>3.9.1</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-reload4j</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

LOG4J = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
"""


class KafkaFailure(Exception):
    """The broker could not be fetched, started or stopped; the message carries its log."""


def jars_are_here():
    """The jars were fetched before: a broker starts without the network."""
    stamp = SOURCE / "build" / "kafka" / ".complete"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == POM


def broker_jars():
    """The folder with the broker's jars; fetched on first use, by one process at a time."""
    home = SOURCE / "build" / "kafka"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = home / ".complete"
        if jars_are_here():
            return home / "lib"
        shutil.rmtree(home / "lib", ignore_errors=True)
        (home / "pom.xml").write_text(POM, encoding="utf-8")
        for attempt in range(FETCH_ATTEMPTS):
            fetched = subprocess.run(
                ["mvn", "-q", "-B", "-f", str(home / "pom.xml"), "dependency:copy-dependencies",
                 f"-DoutputDirectory={home / 'lib'}"],
                capture_output=True, text=True, check=False, timeout=300)
            if fetched.returncode == 0:
                break
            if attempt == FETCH_ATTEMPTS - 1:
                raise KafkaFailure(f"the broker could not be fetched by Maven:\n{fetched.stdout}{fetched.stderr}")
        stamp.write_text(POM, encoding="utf-8")
        return home / "lib"


def class_archive(jars):
    """The broker's classes as the JVM keeps them in memory: a start takes a third of the time. Made on first use."""
    archive = jars.parent / "broker.jsa"
    with open(jars.parent / ".archive-lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            fresh = archive.with_suffix(".new")
            with KafkaBroker(jvm_options=[f"-XX:ArchiveClassesAtExit={fresh}"]) as broker:
                broker.stop()
            fresh.rename(archive)
    return archive


class KafkaBroker:
    """One broker. Usable as a context manager; close() stops it and removes its directory."""

    def __init__(self, properties=None, sasl_users=None, start=True, measured=False, jvm_options=None, joins=None):
        """`sasl_users`: name → password; clients must then use SASL/PLAIN. `measured`: slow to start, fast in the end.

        `joins`: the first broker of the cluster, which stays its only controller; this one has the node id 2.
        """
        self.jars = broker_jars()
        if jvm_options is None:
            jvm_options = [f"-XX:SharedArchiveFile={class_archive(self.jars)}"]
        self.jvm_options = [f"-XX:TieredStopAtLevel={4 if measured else 1}", *jvm_options]
        self.directory = Path(tempfile.mkdtemp(prefix="concordat-kafka-"))
        self.log = self.directory / "broker.log"
        self.port, self.controller_port = free_ports(2)
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.process = None
        properties = dict(properties or {})
        if joins is not None:
            self.cluster_id = joins.cluster_id
            properties.update({
                "process.roles": "broker", "node.id": "2",
                "controller.quorum.voters": f"1@127.0.0.1:{joins.controller_port}",
                "listeners": f"CLIENT://127.0.0.1:{self.port}"})
        self._write_configuration(properties, sasl_users)
        try:
            # In one word with its option: one id in 64 begins with a dash.
            self._java("kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={self.cluster_id}",
                       "-c", str(self.directory / "server.properties"))
            if start:
                self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    # -------------------------------------------------------------- life cycle

    def start(self):
        """Starts the broker and returns when it takes connections and has finished its recovery."""
        marker = self._log_size()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command("kafka.Kafka", str(self.directory / "server.properties")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise KafkaFailure(f"the broker ended with {self.process.returncode}:\n{self.log_since(marker)}")
            if self._answers():
                return
            time.sleep(0.05)
        raise KafkaFailure(f"the broker did not start in {START_SECONDS} s:\n{self.log_since(marker)}")

    def stop(self):
        """Orderly stop."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self):
        """SIGSTOP: connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log_since(self, offset=0):
        try:
            with open(self.log, "rb") as log:
                log.seek(offset)
                return log.read()[-8000:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    # -------------------------------------------------------------- details

    def _write_configuration(self, properties, sasl_users):
        protocol = "SASL_PLAINTEXT" if sasl_users else "PLAINTEXT"
        values = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"CLIENT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self.port}",
            "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.directory / "data"),
            "num.partitions": "4",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": "2097152",
            "log.segment.bytes": "104857600",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "background.threads": "2",
            "controlled.shutdown.enable": "false",
        }
        if sasl_users:
            users = " ".join(f'user_{name}="{password}"' for name, password in sasl_users.items())
            name, password = next(iter(sasl_users.items()))
            values["sasl.enabled.mechanisms"] = "PLAIN"
            values["sasl.mechanism.inter.broker.protocol"] = "PLAIN"
            values["listener.name.client.plain.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'username="{name}" password="{password}" {users};')
        values.update(properties)
        text = "".join(f"{name}={value}\n" for name, value in values.items())
        (self.directory / "server.properties").write_text(text, encoding="utf-8")
        (self.directory / "log4j.properties").write_text(LOG4J, encoding="utf-8")

    def _command(self, main_class, *arguments):
        return ["java", "-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", *self.jvm_options,
                f"-Dlog4j.configuration=file:{self.directory / 'log4j.properties'}",
                "-cp", f"{self.jars}/*", main_class, *arguments]

    def _java(self, main_class, *arguments):
        done = subprocess.run(self._command(main_class, *arguments), capture_output=True, text=True,
                              check=False, timeout=START_SECONDS)
        if done.returncode != 0:
            raise KafkaFailure(f"{main_class} failed:\n{done.stdout}{done.stderr}")

    def _answers(self):
        """An ApiVersions request: the broker answers it only when it is through with its recovery."""
        request = bytes.fromhex("0000000c" "0012" "0000" "00000001" "0002") + b"hi"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(2)
                connection.sendall(request)
                return len(connection.recv(8)) == 8
        except OSError:
            return False

    def _log_size(self):
        return self.log.stat().st_size if self.log.exists() else 0
