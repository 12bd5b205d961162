from crawlyard import Usage
from crawlyard.core.crawl.page import Outcome, TargetState
from crawlyard.core.jobs.checkpoint import Batch, Shard
from tests.builders import a_batch, a_target, done, failed


def test_a_heartbeat_says_nothing() -> None:
    assert Batch() == a_batch()
    assert Batch().usage == Usage(duration_s=0)


def test_a_batch_counts_the_page_records_that_it_brings() -> None:
    targets = [a_target(name) for name in "abcd"]
    again = Outcome(targets[2], TargetState.WAITING)
    skipped = Outcome(targets[3], TargetState.SKIPPED, rule="robots: Disallow: /d")
    batch = a_batch(targets, [done(targets[0]), failed(targets[1]), again, skipped])
    assert batch.pages == 2


def test_a_shard_that_nobody_claimed_yet_is_free_and_of_no_attempt() -> None:
    shard = Shard()
    assert (shard.worker, shard.attempt, shard.lease_until, shard.seq) == (None, 0, None, 0)
    assert shard.usage == Usage()
