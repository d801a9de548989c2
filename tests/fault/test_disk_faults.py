"""The disk lies or refuses: a node would rather not run than run on data it cannot trust."""

import resource
import shutil
import signal

import pytest
from clients import COMMITTING, outcome_at, submit, submit_once, wait_for_outcome
from stack import Program, StackFailure, call, free_ports, wait_until

FILE_LIMIT_BYTES = 1 << 20


def big_transaction():
    body = {"branches": [dict(branch, payload={"filler": "x" * 50_000}) for branch in COMMITTING["branches"]]}
    return body


def write_until_exit(node, told):
    """Submits until the node is gone; remembers what it acknowledged."""
    for number in range(1000):
        xid = f"big-{number}"
        answer = submit_once(node.url, xid, big_transaction(), timeout=30)
        if answer.status == 200:
            told.append(xid)
        elif not node.is_running():
            return
        else:
            try:
                node.wait_for_exit(5)
                return
            except StackFailure:
                continue
    raise AssertionError("a thousand big transactions fitted into the limit")


def test_a_node_exits_when_a_write_fails(make_cluster):
    """C21: a write error ends the process at once with a message; what was acknowledged before is still there."""
    cluster = make_cluster(1)
    node = cluster.nodes[0]
    told = []
    node.kill()
    # Without the signal's default action a write beyond the limit fails as on a full disk. The limit comes when the
    # node is up: the segment it writes is allocated by then, and its end is what cannot be written.
    node.prepare = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    node.start()
    cluster.wait_for_leader()
    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))
    write_until_exit(node, told)
    assert node.wait_for_exit() != 0
    assert str(node.data) in node.log_text(), f"the message does not name the file:\n{node.log_tail()}"
    assert told, "the limit was reached before the first transaction"

    node.prepare = None
    node.start()
    node.wait_until_ready()
    for xid in told:
        wait_for_outcome(node.url, xid, "committed", cluster)
    assert submit(cluster, "after", COMMITTING) == "committed"


def stopped_node_with_data(cluster):
    node = cluster.nodes[0]
    told = [f"kept-{number}" for number in range(30)]
    for xid in told:
        assert submit(cluster, xid, COMMITTING) == "committed"
    node.kill()
    return node, told


def data_files(node):
    return sorted(path for path in node.data.rglob("*") if path.is_file() and path.stat().st_size > 0)


def used_bytes(path):
    """Length without the zeroes a preallocated file ends in."""
    return len(path.read_bytes().rstrip(b"\0"))


def expect_refusal(node, path):
    """The node must not come up, and must say which file is why."""
    node.start()
    code = node.wait_for_exit()
    assert code != 0
    assert path.name in node.log_text(), f"the message does not name {path.name}:\n{node.log_tail()}"


def segment_of(node):
    """The file with the most content: the log segment."""
    return max(data_files(node), key=used_bytes)


@pytest.mark.parametrize("position", [0.1, 0.5, 0.8])
def test_a_damaged_log_is_refused_by_name(make_cluster, position):
    """C22: one flipped bit among acknowledged entries; the node does not start and names the file."""
    cluster = make_cluster(1)
    node, told = stopped_node_with_data(cluster)
    path = segment_of(node)
    intact = path.read_bytes()
    offset = int(used_bytes(path) * position)
    path.write_bytes(intact[:offset] + bytes([intact[offset] ^ 0x10]) + intact[offset + 1:])
    expect_refusal(node, path)

    # The message told what to do; with the file put back everything is there again.
    path.write_bytes(intact)
    node.start()
    node.wait_until_ready()
    for xid in told:
        wait_for_outcome(node.url, xid, "committed", cluster)


def test_a_log_that_lost_its_end_is_refused_by_name(make_cluster):
    """C22: the acknowledged second half of the log is gone; starting with the rest would forget decisions."""
    cluster = make_cluster(1)
    node, _ = stopped_node_with_data(cluster)
    path = segment_of(node)
    with open(path, "r+b") as file:
        file.truncate(used_bytes(path) // 2)
    expect_refusal(node, path)


def test_damage_to_any_file_loses_nothing_silently(make_cluster):
    """C22: one bit of every file in turn; each time the node refuses to start, or has every decision it told."""
    cluster = make_cluster(1)
    node, told = stopped_node_with_data(cluster)
    for path in data_files(node):
        intact = {file: file.read_bytes() for file in data_files(node)}
        data = bytearray(intact[path])
        data[used_bytes(path) // 2] ^= 0x01
        path.write_bytes(bytes(data))
        node.start()

        def settled():
            return not node.is_running() or call("GET", f"{node.url}/readyz", timeout=5).status == 200

        wait_until(settled, "the node starts or refuses", explain=node.log_tail)
        if node.is_running():
            for xid in told:
                wait_for_outcome(node.url, xid, "committed", cluster)
            node.kill()
        else:
            assert path.name in node.log_text(), f"the message does not name {path.name}:\n{node.log_tail()}"
        for file in data_files(node):
            file.unlink()
        for file, content in intact.items():
            file.write_bytes(content)


def test_a_second_process_is_refused_on_the_same_data(make_cluster):
    """Two processes on one data directory would both vote as one node: the second must not start."""
    cluster = make_cluster(1)
    first = cluster.nodes[0]
    command = list(first.command)
    command[command.index("--listen") + 1] = f"127.0.0.1:{free_ports(1)[0]}"
    second = Program("second process", command, first.log.with_name("second.log"))
    second.start()
    assert second.wait_for_exit() != 0
    assert str(first.data) in second.log_text(), second.log_tail()
    assert submit(cluster, "still-served", COMMITTING) == "committed"


def test_an_empty_disk_under_a_known_name_is_refused(make_cluster):
    """C16: a node that lost its disk could vote twice: under its old id nobody listens to it, and its vote counts not."""
    cluster = make_cluster(3)
    assert submit(cluster, "before", COMMITTING) == "committed"
    empty = cluster.follower()
    empty.kill()
    shutil.rmtree(empty.data)
    empty.start()
    wait_until(lambda: "new node id" in empty.log_text(), "the node says why it is refused", explain=empty.log_tail)
    assert submit(cluster, "with-two", COMMITTING) == "committed"

    # With one more node gone the empty one would make a majority, if it were let in.
    other = next(node for node in cluster.nodes if node not in (empty, cluster.wait_for_leader()))
    other.kill()
    survivor = next(node for node in cluster.nodes if node not in (empty, other))
    wait_until(lambda: submit_once(survivor.url, "with-one", COMMITTING, timeout=30).status == 503,
               "work is refused without a majority of known nodes", explain=cluster.log_tails)
    assert not empty.is_serving_leader()

    other.start()
    other.wait_until_ready()
    assert submit(cluster, "after", COMMITTING, first=cluster.nodes.index(survivor)) == "committed"
    assert outcome_at(survivor.url, "before") == "committed"
