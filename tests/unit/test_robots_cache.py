import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crawlyard import ErrorKind
from crawlyard.core.hosts.hosts import RobotsFile
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.robots.cache import FRESH_S, MAX_HOPS, Closed, RobotsAccess, RobotsCache
from crawlyard.engine.robots.rules import MAX_PARSED, RobotsRules
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.hosts import RobotsStore
from tests.clock import FakeClock

AGENT = "Crawlyard/0.1"
ORIGIN = "https://a.example"
ROBOTS = f"{ORIGIN}/robots.txt"
DAY = timedelta(days=1)
SECRET = b"User-agent: *\nDisallow: /secret\n"

TIMEOUT = FetchFailed(ErrorKind.TIMEOUT, "no complete response within 30 s", transient=True)
NO_NAME = FetchFailed(ErrorKind.DNS, "a.example has no address", transient=True)
REFUSED = FetchFailed(ErrorKind.CONNECT, "connection refused", transient=True)
BLOCKED = FetchFailed(ErrorKind.BLOCKED_ADDRESS, "10.0.0.1 is private")


def an_answer(status: int = 200, body: bytes = b"", location: str = "") -> Response:
    headers = (("Location", location),) if location else ()
    return Response(status, headers, body, len(body), truncated="", elapsed_ms=1)


@dataclass
class Web:
    """Answers by URL; every other URL answers 404."""

    answers: Mapping[str, Response | FetchFailed]
    asked: list[str] = field(default_factory=list)

    async def ask(self, url: str) -> Response:
        self.asked.append(url)
        answer = self.answers.get(url, an_answer(404))
        if isinstance(answer, FetchFailed):
            raise answer
        return answer


def an_access(
    answer: Response | FetchFailed, cache: RobotsCache | None = None
) -> tuple[RobotsAccess, Web]:
    web = Web({ROBOTS: answer})
    return RobotsAccess(AGENT, cache or RobotsCache(FakeClock()), web.ask), web


async def rules_of(access: RobotsAccess) -> RobotsRules:
    rules = await access.learn(ORIGIN)
    assert isinstance(rules, RobotsRules)
    return rules


async def closed(access: RobotsAccess) -> Closed:
    closure = await access.learn(ORIGIN)
    assert isinstance(closure, Closed)
    return closure


async def waits_of(access: RobotsAccess) -> list[float | None]:
    """Retry until the origin is given up; return the waits between the tries, None at the end."""
    waits: list[float | None] = []
    while not waits or waits[-1] is not None:
        waits.append((await closed(access)).retry_in_s)
    return waits


# --- what an answer means


async def test_rules_are_asked_for_once_and_then_known() -> None:
    access, web = an_access(an_answer(body=SECRET))
    assert access.rules_for(ORIGIN) is None

    rules = await rules_of(access)

    assert access.rules_for(ORIGIN) is rules
    assert rules.verdict("/secret/x") == "Disallow: /secret"
    assert rules.verdict("/open") is None
    assert web.asked == [ROBOTS]


async def test_any_4xx_allows_everything() -> None:
    for status in [400, 401, 403, 404, 410, 451, 499]:
        access, _ = an_access(an_answer(status, SECRET))
        assert (await rules_of(access)).verdict("/secret") is None, status


async def test_a_5xx_or_a_429_closes_the_origin() -> None:
    for status in [429, 500, 502, 503, 504, 599]:
        access, _ = an_access(an_answer(status, SECRET))
        closure = await closed(access)
        assert closure.kind is ErrorKind.ROBOTS, status
        assert closure.detail == f"cannot fetch robots.txt: status {status}", status


async def test_no_answer_closes_the_origin_and_says_why() -> None:
    for failure, kind in [
        (TIMEOUT, ErrorKind.ROBOTS),
        (NO_NAME, ErrorKind.DNS),
        (REFUSED, ErrorKind.CONNECT),
        (BLOCKED, ErrorKind.BLOCKED_ADDRESS),
    ]:
        access, _ = an_access(failure)
        closure = await closed(access)
        assert closure.kind is kind, failure
        assert failure.detail in closure.detail, failure


async def test_what_is_beyond_500_kib_is_not_read() -> None:
    comment = b"#" * (MAX_PARSED - len(SECRET) - 1) + b"\n"
    beyond = b"User-agent: *\nDisallow: /\n"
    access, _ = an_access(an_answer(body=SECRET + comment + beyond))
    rules = await rules_of(access)
    assert rules.verdict("/secret") is not None
    assert rules.verdict("/open") is None


# --- asked again


async def test_a_closed_origin_is_asked_again_after_growing_waits_and_then_given_up() -> None:
    cases: dict[str, Response | FetchFailed] = {"a 503": an_answer(503), "a time-out": TIMEOUT}
    for name, failure in cases.items():
        access, web = an_access(failure)
        assert await waits_of(access) == [2.0, 4.0, 8.0, 16.0, 32.0, None], name
        assert len(web.asked) == 6, name


async def test_an_origin_that_cannot_be_reached_is_given_up_sooner() -> None:
    for name, failure in {"no name": NO_NAME, "refused": REFUSED}.items():
        access, _ = an_access(failure)
        assert await waits_of(access) == [2.0, 4.0, None], name


async def test_what_no_further_try_can_change_is_given_up_at_once() -> None:
    access, web = an_access(BLOCKED)
    closure = await closed(access)
    assert closure.detail == "cannot fetch robots.txt: 10.0.0.1 is private"
    assert access.rules_for(ORIGIN) is closure
    assert len(web.asked) == 1


async def test_an_origin_that_is_given_up_stays_so_and_says_after_how_many_tries() -> None:
    access, _ = an_access(REFUSED)
    await waits_of(access)
    closure = access.rules_for(ORIGIN)
    assert isinstance(closure, Closed)
    assert closure.retry_in_s is None
    assert closure.detail.endswith("(3 tries)")


async def test_an_origin_that_is_only_closed_so_far_is_not_known() -> None:
    access, _ = an_access(an_answer(503))
    await closed(access)
    assert access.rules_for(ORIGIN) is None


async def test_an_origin_that_answers_in_the_end_has_all_its_tries_again() -> None:
    clock, answers = FakeClock(), dict[str, Response | FetchFailed]()
    access = RobotsAccess(AGENT, RobotsCache(clock), Web(answers).ask)
    answers[ROBOTS] = an_answer(503)
    for _ in range(4):
        await closed(access)
    answers[ROBOTS] = an_answer(body=SECRET)
    await rules_of(access)
    await clock.advance(DAY)
    answers[ROBOTS] = an_answer(503)

    assert (await closed(access)).retry_in_s == 2.0


# --- redirects


async def test_rules_that_are_found_elsewhere_are_those_of_the_origin() -> None:
    elsewhere = "http://b.example/x/robots.txt"
    web = Web({ROBOTS: an_answer(301, location=elsewhere), elsewhere: an_answer(body=SECRET)})
    access = RobotsAccess(AGENT, RobotsCache(FakeClock()), web.ask)

    rules = await rules_of(access)

    assert rules.verdict("/secret") is not None
    assert access.rules_for(ORIGIN) is rules
    assert access.rules_for("http://b.example") is None


def a_chain(hops: int) -> Web:
    """Return a web whose robots.txt is behind *hops* relative redirects."""
    urls = [ROBOTS, *(f"{ORIGIN}/{n}" for n in range(hops))]
    answers = {url: an_answer(302, location=f"/{n}") for n, url in enumerate(urls[:-1])}
    return Web(answers | {urls[-1]: an_answer(body=SECRET)})


async def test_five_redirects_are_followed() -> None:
    access = RobotsAccess(AGENT, RobotsCache(FakeClock()), a_chain(MAX_HOPS).ask)
    assert (await rules_of(access)).verdict("/secret") is not None


async def test_a_longer_chain_is_taken_as_no_robots_txt() -> None:
    web = a_chain(MAX_HOPS + 1)
    access = RobotsAccess(AGENT, RobotsCache(FakeClock()), web.ask)
    assert (await rules_of(access)).verdict("/secret") is None
    assert len(web.asked) == 1 + MAX_HOPS


async def test_a_redirect_that_leads_nowhere_is_taken_as_no_robots_txt() -> None:
    for location in ["", "javascript:alert(1)", "http://"]:
        access, web = an_access(an_answer(302, SECRET, location))
        assert (await rules_of(access)).verdict("/secret") is None, location
        assert web.asked == [ROBOTS], location


async def test_a_redirect_to_what_is_down_closes_the_origin() -> None:
    elsewhere = "http://b.example/robots.txt"
    web = Web({ROBOTS: an_answer(301, location=elsewhere), elsewhere: an_answer(500)})
    access = RobotsAccess(AGENT, RobotsCache(FakeClock()), web.ask)
    assert (await closed(access)).retry_in_s == 2.0


# --- what all jobs have learnt


async def test_what_one_job_has_learnt_the_others_need_not_ask() -> None:
    cache = RobotsCache(FakeClock())
    first, _ = an_access(an_answer(body=SECRET), cache)
    other, web = an_access(an_answer(500), cache)
    rules = await rules_of(first)
    assert other.rules_for(ORIGIN) is rules
    assert web.asked == []


async def test_rules_are_kept_for_a_day_also_within_one_job() -> None:
    clock = FakeClock()
    access, _ = an_access(an_answer(body=SECRET), RobotsCache(clock))
    rules = await rules_of(access)

    await clock.advance(DAY - timedelta(seconds=1))
    assert access.rules_for(ORIGIN) is rules
    await clock.advance(timedelta(seconds=1))

    assert access.rules_for(ORIGIN) is None


async def test_rules_for_another_agent_or_origin_are_others() -> None:
    cache = RobotsCache(FakeClock())
    await rules_of(an_access(an_answer(body=SECRET), cache)[0])
    assert cache.get(ORIGIN, "Another/1.0") is None
    assert cache.get("http://a.example", AGENT) is None


async def test_a_cache_does_not_grow_with_rules_that_are_a_day_old() -> None:
    clock = FakeClock()
    cache = RobotsCache(clock)
    rules = await rules_of(an_access(an_answer(body=SECRET))[0])
    for name in ("a", "b", "a"):
        cache.add(f"http://{name}.example", AGENT, rules)
        await clock.advance(DAY / 2)
    cache.add("http://c.example", AGENT, rules)

    assert [origin for origin, _ in cache._rules] == ["http://a.example", "http://c.example"]


async def test_an_origin_that_is_given_up_is_so_for_its_job_alone() -> None:
    cache = RobotsCache(FakeClock())
    first, _ = an_access(BLOCKED, cache)
    await closed(first)
    other, _ = an_access(an_answer(body=SECRET), cache)
    assert other.rules_for(ORIGIN) is None


# --- what is kept for other processes


@dataclass
class Kept:
    """A store of robots.txt files that records writes, and can be unavailable."""

    store: RobotsStore = field(default_factory=lambda: open_in_memory().robots)
    away: bool = False
    broken: bool = False
    puts: list[list[str]] = field(default_factory=list)

    async def get(self, origin: str, now: datetime) -> RobotsFile | None:
        self._check()
        return await self.store.get(origin, now)

    async def save(self, files: Sequence[RobotsFile]) -> None:
        self._check()
        if self.broken:
            raise ValueError("broken")
        self.puts.append([file.origin for file in files])
        await self.store.save(files)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


async def saved(clock: FakeClock) -> None:
    await clock.advance(timedelta(seconds=1))


async def test_another_process_need_not_ask_for_what_one_has_asked() -> None:
    clock, keeper = FakeClock(), Kept()
    first, _ = an_access(an_answer(body=SECRET), RobotsCache(clock, keeper))
    await rules_of(first)
    await saved(clock)

    other, web = an_access(an_answer(500), RobotsCache(clock, keeper))
    rules = await rules_of(other)

    assert web.asked == []
    assert other.rules_for(ORIGIN) is rules
    assert rules.verdict("/secret") == "Disallow: /secret"


async def test_that_there_are_no_rules_is_kept_as_well() -> None:
    for status in [404, 403, 301]:
        clock, keeper = FakeClock(), Kept()
        first, _ = an_access(an_answer(status, SECRET), RobotsCache(clock, keeper))
        await rules_of(first)
        await saved(clock)

        other, web = an_access(an_answer(500), RobotsCache(clock, keeper))
        rules = await rules_of(other)

        assert web.asked == [], status
        assert rules.verdict("/secret") is None, status


async def test_each_agent_reads_its_own_group_of_what_is_kept() -> None:
    clock, keeper = FakeClock(), Kept()
    body = b"User-agent: *\nDisallow: /all\n\nUser-agent: other\nDisallow: /other\n"
    await rules_of(an_access(an_answer(body=body), RobotsCache(clock, keeper))[0])
    await saved(clock)

    cache = RobotsCache(clock, keeper)
    await cache.load(ORIGIN, "Other/1.0")
    rules = cache.get(ORIGIN, "Other/1.0")

    assert rules is not None
    assert rules.verdict("/all") is None
    assert rules.verdict("/other") == "Disallow: /other"


async def test_what_is_kept_ends_a_day_after_it_was_asked_for() -> None:
    clock, keeper = FakeClock(), Kept()
    await rules_of(an_access(an_answer(body=SECRET), RobotsCache(clock, keeper))[0])
    await clock.advance(DAY - timedelta(hours=1))
    other, web = an_access(an_answer(503), RobotsCache(clock, keeper))
    await rules_of(other)

    await clock.advance(timedelta(hours=1))

    assert other.rules_for(ORIGIN) is None
    await closed(other)
    assert web.asked == [ROBOTS, ROBOTS]


async def test_a_job_that_begins_later_asks_again_and_goes_by_what_it_is_told() -> None:
    for name, restarted in {"same process": False, "another process": True}.items():
        clock, keeper = FakeClock(), Kept()
        cache = RobotsCache(clock, keeper)
        await rules_of(an_access(an_answer(body=SECRET), cache)[0])
        await clock.advance(timedelta(seconds=FRESH_S + 1))
        edited = an_answer(body=b"User-agent: *\nDisallow: /other\n")

        later, web = an_access(edited, RobotsCache(clock, keeper) if restarted else cache)
        assert later.rules_for(ORIGIN) is None, name
        rules = await rules_of(later)
        await saved(clock)

        assert web.asked == [ROBOTS], name
        assert (rules.verdict("/secret"), rules.verdict("/other")) == (None, "Disallow: /other"), (
            name
        )
        assert later.rules_for(ORIGIN) is rules, name
        file = await keeper.get(ORIGIN, clock.now())
        assert file is not None, name
        assert b"/other" in file.body, name


async def test_what_was_had_before_a_job_holds_while_the_origin_does_not_answer() -> None:
    cases: dict[str, Response | FetchFailed] = {"a 503": an_answer(503), "a time-out": TIMEOUT}
    for name, failure in cases.items():
        clock, keeper = FakeClock(), Kept()
        await rules_of(an_access(an_answer(body=SECRET), RobotsCache(clock, keeper))[0])
        await clock.advance(timedelta(hours=1))

        later, web = an_access(failure, RobotsCache(clock, keeper))
        rules = await rules_of(later)

        assert web.asked == [ROBOTS], name
        assert rules.verdict("/secret") == "Disallow: /secret", name
        assert later.rules_for(ORIGIN) is rules, name


async def test_an_origin_that_fails_is_not_kept() -> None:
    clock, keeper = FakeClock(), Kept()
    for answer in (an_answer(503), an_answer(429), TIMEOUT):
        await closed(an_access(answer, RobotsCache(clock, keeper))[0])
    await saved(clock)
    assert keeper.puts == []


async def test_files_that_are_had_at_about_the_same_time_are_written_together() -> None:
    clock, keeper = FakeClock(), Kept()
    cache = RobotsCache(clock, keeper)

    for name in "abc":
        cache.save(f"http://{name}", 404, b"")
    await saved(clock)
    cache.save("http://d", 404, b"")
    await saved(clock)

    assert keeper.puts == [["http://a", "http://b", "http://c"], ["http://d"]]


async def test_a_file_that_cannot_be_kept_does_not_keep_others_from_it() -> None:
    clock, keeper = FakeClock(), Kept(broken=True)
    cache = RobotsCache(clock, keeper)
    cache.save("http://a", 404, b"")
    await saved(clock)

    keeper.broken = False
    cache.save("http://b", 404, b"")
    await saved(clock)

    assert keeper.puts == [["http://b"]]


async def test_what_was_had_just_now_is_written_before_the_end() -> None:
    clock, keeper = FakeClock(), Kept()
    cache = RobotsCache(clock, keeper)
    cache.save(ORIGIN, 200, SECRET)

    await cache.close()

    file = await keeper.get(ORIGIN, clock.now())
    assert file is not None
    assert (file.status, file.body) == (200, SECRET)
    assert len(asyncio.all_tasks()) == 1


async def test_while_the_store_is_away_origins_are_asked() -> None:
    clock, keeper = FakeClock(), Kept(away=True)
    access, web = an_access(an_answer(body=SECRET), RobotsCache(clock, keeper))
    rules = await rules_of(access)
    await saved(clock)
    assert web.asked == [ROBOTS]
    assert access.rules_for(ORIGIN) is rules
