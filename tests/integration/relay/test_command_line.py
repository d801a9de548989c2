"""The command line: configuration errors are found before anything starts."""

import os
import subprocess

import yaml

from relay_process import PROGRAMS


def run(*arguments, **environment):
    return subprocess.run([PROGRAMS / "concordat-relay", *arguments], capture_output=True, text=True, check=False,
                          timeout=30, env={**os.environ, **environment})


def test_every_complaint_comes_at_once_with_its_origin(tmp_path):
    """File, environment and flag are named, and the nearest option of an unknown one."""
    file = tmp_path / "relay.yaml"
    file.write_text("kafka:\n  bootstrap_servers: b:9092\n  lingr: 5ms\n", encoding="utf-8")
    done = run("--config", str(file), "--http.port=70000", CONCORDAT_RELAY_LEASE__DURATION="soon")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert f"{file} line 3: unknown option 'kafka.lingr'; the nearest is 'kafka.linger'" in lines
    assert any(line.startswith("environment CONCORDAT_RELAY_LEASE__DURATION") for line in lines)
    assert any(line.startswith("flag --http.port") for line in lines)


def test_printed_configuration_is_a_configuration_file(tmp_path):
    """What --print-config prints is accepted by --config and means the same."""
    first = run("--kafka.bootstrap_servers=b:9092", "--policy.topics.order.placed=skip", "--print-config",
                CONCORDAT_RELAY_KAFKA__LINGER="7ms")
    assert first.returncode == 0
    file = tmp_path / "relay.yaml"
    file.write_text(first.stdout, encoding="utf-8")
    second = run("--config", str(file), "--print-config")
    assert second.returncode == 0, second.stderr
    assert yaml.safe_load(second.stdout) == yaml.safe_load(first.stdout)
    assert yaml.safe_load(first.stdout)["kafka"]["linger"] == "7ms"


def test_check_config_starts_nothing():
    """Valid: exit code 0; unknown argument: exit code 2."""
    assert run("--kafka.bootstrap_servers=b:9092", "--check-config").returncode == 0
    assert run("--kafka.bootstrap_servers=b:9092", "--chekc-config").returncode == 2
