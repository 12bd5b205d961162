"""Rate limits of requests by kind."""

from datetime import timedelta

import pytest

from crawlyard.web.problems import Problem
from crawlyard.web.rates import PER_MINUTE, Bucket, Rates
from tests.clock import FakeClock
from tests.web.rig import Rig, problem


async def test_so_many_may_come_at_once_and_then_one_as_soon_as_its_time_has_come() -> None:
    for bucket, most in PER_MINUTE.items():
        clock = FakeClock()
        rates = Rates(clock)
        remaining = [rates.take("ada", bucket)["RateLimit"] for _ in range(most)]

        with pytest.raises(Problem) as refused:
            rates.take("ada", bucket)
        await clock.advance(timedelta(seconds=60.001 / most))
        rates.take("ada", bucket)
        with pytest.raises(Problem):
            rates.take("ada", bucket)

        wait_s = max(1, round(60 / most))
        assert remaining[0].startswith(f'"{bucket}";r={most - 1};')
        assert remaining[-1] == f'"{bucket}";r=0;t=60'
        assert refused.value.code == "rate_limited"
        assert refused.value.headers["Retry-After"] == str(wait_s)


def test_each_asker_and_each_kind_is_counted_apart() -> None:
    rates = Rates(FakeClock())
    for _ in range(PER_MINUTE[Bucket.LOGIN]):
        rates.take("ada", Bucket.LOGIN)

    assert rates.take("bob", Bucket.LOGIN)
    assert rates.take("ada", Bucket.READ)
    with pytest.raises(Problem):
        rates.take("ada", Bucket.LOGIN)


async def test_where_rates_are_off_nothing_is_counted(rig: Rig) -> None:
    for _ in range(PER_MINUTE[Bucket.PREVIEW] + 1):
        answer = await rig.post("jobs/preview", {})
        assert problem(answer)[0] == 422
        assert "RateLimit" not in answer.headers
