"""Fixtures of the fault tests: nodes on free ports, and the witness that sees every breach of the protocol."""

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration" / "harness"))

from clients import FAST  # noqa: E402
from stack import Cluster, register_participant  # noqa: E402
from witness import Witness  # noqa: E402


@pytest.fixture
def witness():
    """Two participants, `left` and `right`. Whatever a test does, no breach of the protocol may be seen."""
    watched = Witness()
    yield watched
    watched.close()
    assert watched.breaches == []
    assert watched.torn() == []


@pytest.fixture
def make_cluster(tmp_path, witness):
    """make_cluster(count): started nodes with both participants of the witness registered."""
    clusters = []

    def make(count, **settings):
        named = {name.replace("__", "."): value for name, value in settings.items()}
        cluster = Cluster(count, tmp_path, {**FAST, **named})
        clusters.append(cluster)
        cluster.start()
        for name in witness.names:
            register_participant(cluster, name, witness.base_url(name))
        return cluster

    yield make
    for cluster in clusters:
        for node in cluster.nodes:
            node.resume()
        cluster.close()


@pytest.fixture
def rng(request):
    """A generator whose seed is printed when the test fails; CONCORDAT_SEED repeats a run."""
    seed = int(os.environ.get("CONCORDAT_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CONCORDAT_SEED={seed} repeats this run of {request.node.name}")
    return random.Random(seed)
