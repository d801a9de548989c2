"""Several relays on one database (O3): one owner per bucket, order per key, fast hand-over."""


from conftest import assert_in_order, values_by_key
from relay_process import wait_until

QUICK = {"lease__duration": "2s", "lease__margin": "500ms", "lease__heartbeat": "100ms"}


def owners(outbox):
    return dict(outbox.execute(
        "SELECT owner, count(*) FROM concordat_outbox_lease WHERE owner IS NOT NULL "
        "AND expires_at > clock_timestamp() GROUP BY owner"))


def test_two_relays_share_the_buckets_and_keep_the_order_of_every_key(outbox):
    """A second relay joins and leaves under load: no row twice, none out of order."""
    topic = outbox.topic()
    with outbox.relay(lease__instance="one", **QUICK) as one:
        one.wait_ready()
        start = 0
        for turn in range(4):
            outbox.publish_many(topic, 2000, keys=200, start=start)
            start += 2000
            with outbox.relay(lease__instance="two", **QUICK) as two:
                wait_until(lambda: owners(outbox) == {"one": 32, "two": 32}, lambda: owners(outbox))
                outbox.publish_many(topic, 2000, keys=200, start=start)
                start += 2000
                wait_until(lambda seen=two: seen.metric("published_total") > 100, two.log)
                assert two.terminate() == 0
        outbox.wait_empty()
    assert_in_order(outbox.records(topic), start)


def test_graceful_hand_over_does_not_wait_for_the_lease(outbox):
    """SIGTERM of the owner: the other one has everything at its next heartbeat."""
    longer_than_anybody_waits = {"lease__duration": "5m"}
    with outbox.relay(lease__instance="one", **longer_than_anybody_waits) as one, \
            outbox.relay(lease__instance="two", **longer_than_anybody_waits) as two:
        wait_until(lambda: owners(outbox) == {"one": 32, "two": 32}, lambda: owners(outbox))
        assert one.terminate() == 0
        wait_until(lambda: owners(outbox) == {"two": 64}, two.log)


def test_buckets_of_a_killed_relay_are_taken_over_within_the_lease(outbox):
    """kill -9: its leases run out on the database's clock, then its rows go on."""
    topic = outbox.topic()
    with outbox.relay(lease__instance="one", **QUICK) as one, outbox.relay(lease__instance="two", **QUICK) as two:
        wait_until(lambda: owners(outbox) == {"one": 32, "two": 32}, lambda: owners(outbox))
        one.kill()
        (end,), = outbox.execute("SELECT max(expires_at) FROM concordat_outbox_lease WHERE owner = 'one'")
        outbox.publish_many(topic, 500, keys=100)
        wait_until(lambda: owners(outbox) == {"two": 64}, two.log)
        (now,), = outbox.execute("SELECT clock_timestamp()")
        assert now >= end, "taken before the lease of the dead one was over"
        outbox.wait_empty()
    assert_in_order(outbox.records(topic), 500)


def test_paused_relay_neither_deletes_nor_reorders_after_it_lost_its_leases(outbox):
    """SIGSTOP beyond the lease: the epoch keeps its DELETE from counting, first deliveries stay in order."""
    topic = outbox.topic()
    with outbox.relay(lease__instance="one", **QUICK) as one:
        outbox.publish_many(topic, 500, keys=20)
        outbox.wait_empty()
        one.pause()
        with outbox.relay(lease__instance="two", **QUICK):
            outbox.publish_many(topic, 500, keys=20, start=500)
            outbox.wait_empty()
            one.resume()
            wait_until(lambda: len(owners(outbox)) == 2, one.log)
            outbox.publish_many(topic, 500, keys=20, start=1000)
            outbox.wait_empty()
        epochs = [epoch for (epoch,) in outbox.execute("SELECT epoch FROM concordat_outbox_lease")]
        assert min(epochs) >= 2
    for values in values_by_key(outbox.records(topic)).values():
        numbers = list(dict.fromkeys(map(int, values)))
        assert numbers == sorted(numbers)


def test_delete_counts_only_under_the_epoch_it_was_given(outbox):
    """O3: when the lease has changed hands unnoticed, an acknowledged row stays for the new owner."""
    topic = outbox.topic()
    slow = {"lease__duration": "60s", "lease__margin": "1s", "lease__heartbeat": "10s"}
    with outbox.relay(**slow) as relay:
        outbox.publish_many(topic, 10)
        outbox.wait_empty()
        outbox.execute("UPDATE concordat_outbox_lease SET epoch = epoch + 1, owner = 'somebody else', "
                       "expires_at = clock_timestamp() + interval '1 hour'")
        outbox.publish_many(topic, 10, start=10)
        wait_until(lambda: relay.metric("delete_refused_total") == 10, relay.log)
        assert outbox.outstanding() == 10
        assert relay.metric("deleted_total") == 10
