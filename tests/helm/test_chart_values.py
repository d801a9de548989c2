"""The chart's values, their schema and what they refer to elsewhere in the tree."""

from __future__ import annotations

import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

SOURCE = Path(os.environ["CONCORDAT_SOURCE_DIR"])
CHART = SOURCE / "helm/concordat"
SCHEMA = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def merged(over: dict, under: dict) -> dict:
    result = dict(under)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(value, old) if isinstance(value, dict) and isinstance(old, dict) else value
    return result


def is_valid(values: dict) -> bool:
    return jsonschema.Draft7Validator(SCHEMA).is_valid(merged(values, DEFAULTS))


def test_schema_is_a_schema():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_default_values_are_valid():
    assert is_valid({})


@pytest.mark.parametrize("file", sorted(path.name for path in (CHART / "ci").glob("*.yaml")))
def test_example_values_are_valid(file):
    assert is_valid(yaml.safe_load((CHART / "ci" / file).read_text(encoding="utf-8")))


@pytest.mark.parametrize("values", [
    pytest.param({"replicas": 2}, id="even number of replicas"),
    pytest.param({"replicas": 0}, id="no replicas"),
    pytest.param({"replica": 3}, id="unknown value"),
    pytest.param({"config": {"node": {"id": 7}}}, id="node id by hand"),
    pytest.param({"config": {"log": {"fsync": False}}}, id="log without fsync"),
    pytest.param({"config": {"transaction": {}}}, id="unknown section"),
    pytest.param({"storage": {"size": "ten"}}, id="size without unit"),
    pytest.param({"terminationGracePeriodSeconds": 5}, id="grace below the drain deadline"),
    pytest.param({"ports": {"api": 80}}, id="privileged port"),
])
def test_wrong_values_are_refused(values):
    assert not is_valid(values)


def test_every_section_of_the_configuration_can_be_set():
    """A new section of concordatd must reach the chart's schema."""
    sample = yaml.safe_load((SOURCE / "docs/reference/concordatd.yaml").read_text(encoding="utf-8"))
    assert set(SCHEMA["properties"]["config"]["properties"]) == set(sample)


@pytest.mark.parametrize("file", ["values.yaml", *(f"ci/{path.name}" for path in (CHART / "ci").glob("*.yaml"))])
def test_settings_in_values_exist(file):
    """A setting that concordatd does not know would keep it from starting."""
    sample = yaml.safe_load((SOURCE / "docs/reference/concordatd.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / file).read_text(encoding="utf-8"))
    for section, settings in (values.get("config") or {}).items():
        assert set(settings) <= set(sample[section])


def test_alerts_use_documented_metrics():
    """An alert on a metric that does not exist never fires."""
    documented = {name for page in ("metrics.md", "relay-metrics.md") for name in re.findall(
        r"`(concordat_[a-z0-9_]+)`", (SOURCE / "docs/reference" / page).read_text(encoding="utf-8"))}
    used = set(re.findall(
        r"\b(concordat_[a-z0-9_]+)\{\{", (CHART / "templates/monitoring.yaml").read_text(encoding="utf-8")))
    assert used
    assert used <= documented


def test_grace_period_exceeds_the_drain_deadline():
    sample = yaml.safe_load((SOURCE / "docs/reference/concordatd.yaml").read_text(encoding="utf-8"))
    drain_seconds = int(re.fullmatch(r"(\d+)s", sample["node"]["drain_deadline"])[1])
    assert SCHEMA["properties"]["terminationGracePeriodSeconds"]["minimum"] > drain_seconds
    assert DEFAULTS["terminationGracePeriodSeconds"] > drain_seconds


def test_chart_and_project_have_the_same_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = re.search(r"^\s+VERSION (\S+)$", (SOURCE / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == project[1]
