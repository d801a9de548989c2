"""Fixtures of the API tests: one node for all tests, fake participants, and calls that check every answer."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from api_client import Api  # noqa: E402
from fake_participant import FakeParticipant  # noqa: E402
from openapi import Specification  # noqa: E402
from stack import Cluster, register_participant  # noqa: E402

_names = itertools.count(1)


@pytest.fixture(scope="session")
def specification():
    return Specification()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A single node."""
    with Cluster(1, tmp_path_factory.mktemp("api")) as one:
        one.start()
        yield one
        assert one.nodes[0].is_running(), one.log_tails()


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory):
    settings = {"log.election_timeout": "500ms", "log.heartbeat_interval": "50ms"}
    with Cluster(3, tmp_path_factory.mktemp("three"), settings) as three:
        three.start()
        yield three


@pytest.fixture
def api(cluster, specification):
    return Api(cluster.nodes[0].url, specification)


@pytest.fixture
def make_participant(cluster):
    """make_participant(**limits): a registered FakeParticipant with a `name` of its own."""
    made = []

    def make(register_at=None, **limits):
        participant = FakeParticipant()
        participant.name = f"fake-{next(_names)}"
        made.append(participant)
        register_participant(register_at or cluster, participant.name, participant.url, **limits)
        return participant

    yield make
    for participant in made:
        participant.close()


@pytest.fixture
def xid(request):
    return f"{request.node.name.replace('[', '.').rstrip(']')[:48]}-{next(_names)}"
