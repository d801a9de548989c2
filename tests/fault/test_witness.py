"""The fault tests rest on the witness: it must see every breach of the protocol, and none where there is none."""

import pytest
from stack import call
from witness import Witness


@pytest.fixture
def watched():
    witness = Witness()
    yield witness
    witness.close()


def tell(witness, operation, xid="x", branch=0, epoch=1, payload=None):
    body = {"operation": operation, "epoch": epoch, "attempt": 1, "payload": payload}
    return call("POST", f"{witness.base_url('left')}/v1/branches/{xid}/{branch}/{operation}", body)


def test_it_sees_nothing_wrong_when_the_protocol_is_kept(watched):
    """Yes and commit, no and abort, and both again: repeated deliveries are part of the protocol."""
    for _ in range(2):
        assert tell(watched, "prepare").json["vote"] == "yes"
    for _ in range(2):
        assert tell(watched, "commit").status == 200
    assert tell(watched, "prepare", "y", payload={"vote": "no"}).json["vote"] == "no"
    for _ in range(2):
        assert tell(watched, "abort", "y").status == 200
    assert (watched.breaches, watched.torn(), watched.undecided()) == ([], [], [])


def test_it_sees_a_commit_without_a_vote(watched):
    """I2: nobody asked this branch, and it is told to commit."""
    assert tell(watched, "commit").status == 409
    assert len(watched.breaches) == 1


def test_it_sees_a_commit_after_an_abort(watched):
    """I4: the decision changed."""
    tell(watched, "prepare")
    tell(watched, "abort")
    assert tell(watched, "commit").status == 409
    assert len(watched.breaches) == 1


def test_it_sees_an_abort_after_a_commit(watched):
    """I4: the decision changed, the other way round."""
    tell(watched, "prepare")
    tell(watched, "commit")
    assert tell(watched, "abort").status == 409
    assert len(watched.breaches) == 1


def test_it_sees_a_torn_transaction_and_one_left_in_doubt(watched):
    """I1 and I5: one branch committed and the other aborted; one branch never told."""
    for branch in (0, 1):
        tell(watched, "prepare", branch=branch)
    tell(watched, "commit", branch=0)
    tell(watched, "abort", branch=1)
    tell(watched, "prepare", "z")
    assert watched.torn() == ["x"]
    assert watched.undecided() == ["z"]


def test_it_refuses_an_older_leader(watched):
    """A PREPARE of a lower epoch than seen for this transaction is refused and changes nothing."""
    tell(watched, "prepare", epoch=9)
    assert tell(watched, "prepare", epoch=8).status == 409
    assert watched.undecided() == ["x"]


def test_it_answers_batches_in_order(watched):
    """Every operation of a batch gets its own answer, in the order of the operations."""
    operations = [{"xid": "b", "branch": number, "operation": "prepare", "epoch": 1, "attempt": 1,
                   "payload": {"vote": vote}} for number, vote in enumerate(("yes", "no", "yes"))]
    answer = call("POST", f"{watched.base_url('left')}/v1/branches:batch", {"operations": operations})
    assert [item["vote"] for item in answer.json["answers"]] == ["yes", "no", "yes"]


def test_it_fails_once_and_measures_the_gap(watched):
    """The bench reads the time to a retry from it: one 500 per transaction, then a normal vote."""
    watched.fail_first_prepares(1)
    assert tell(watched, "prepare").status == 500
    assert tell(watched, "prepare").json["vote"] == "yes"
    assert tell(watched, "prepare", "other").json["vote"] == "yes"
    assert len(watched.retry_gaps()) == 1
