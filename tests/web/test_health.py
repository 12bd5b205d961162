"""Health checks of a server, and the pages of its problems."""

from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import sqlalchemy

from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.errors import StoreUnavailable
from crawlyard.messaging.bus import BusReach
from crawlyard.messaging.memory_bus import MemoryBus
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.open import open_sql_store
from crawlyard.web.problems import KINDS
from crawlyard.web.site import SiteOptions, open_site
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock
from tests.web.rig import Rig, a_rig, an_app, problem


async def test_health_checks_need_no_credentials(rig: Rig) -> None:
    live, ready = await rig.get("/healthz", by=None), await rig.get("/readyz", by=None)
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "redis": None})


class Switched(MemoryBus):
    """A bus with the reach that a test sets."""

    current_reach = BusReach.PROCESS

    @property
    def reach(self) -> BusReach:
        return self.current_reach


async def test_readiness_shows_the_state_of_redis_and_does_not_depend_on_it() -> None:
    for reach, word, figure in [(BusReach.YARD, "well", "1.0"), (BusReach.AWAY, "away", "0.0")]:
        clock = FakeClock()
        yard = Yard(Settings(database_url=IN_MEMORY), open_in_memory(), clock)
        bus = Switched(clock)
        yard.bus = yard.services.bus = bus
        bus.current_reach = reach
        site = await open_site(yard, SiteOptions(rate_limits=False))
        rig = Rig(site=site, app=an_app(site), clock=clock)
        await rig.token(LOCAL.id)

        ready, figures = await rig.get("/readyz", by=None), await rig.get("/metrics")

        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "redis": word}), reach
        assert f"crawlyard_redis_up {figure}\n" in figures.text, reach


async def test_what_is_read_is_read_by_get_alone(rig: Rig) -> None:
    for path in ["/healthz", "jobs", "docs"]:
        answer = await rig.ask("HEAD", path)
        assert (answer.status_code, answer.headers["Allow"].partition(",")[0]) == (405, "GET"), path


async def test_a_yard_without_redis_has_no_figure_of_it(rig: Rig) -> None:
    assert "redis" not in (await rig.get("/metrics")).text


async def test_without_its_store_a_server_lives_and_is_not_ready() -> None:
    async def check() -> None:
        raise StoreUnavailable("the database /home/ada/secret.db is locked")

    rig = await a_rig(open_in_memory().with_parts(check=check))

    live, ready = await rig.get("/healthz", by=None), await rig.get("/readyz", by=None)

    assert live.status_code == 200
    assert problem(ready) == (503, "unavailable")
    assert ready.headers["retry-after"]
    assert "secret" not in ready.text


async def test_with_tables_of_another_version_a_server_is_not_ready(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path / "yard.db")
    rig = await a_rig(store)
    before = await rig.get("/readyz", by=None)

    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'yard.db'}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    after = await rig.get("/readyz", by=None)
    await store.close()

    assert before.status_code == 200
    assert problem(after) == (503, "unavailable")


class PageParser(HTMLParser):
    """Notes what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def test_the_type_of_a_problem_is_a_page_without_anything_to_load(rig: Rig) -> None:
    for code in KINDS:
        path = f"/problems/{code.replace('_', '-')}"

        answer = await rig.get(path, by=None, headers={"Accept": "text/html,*/*;q=0.8"})

        assert answer.status_code == 200, code
        assert answer.headers["content-type"].startswith("text/html"), code
        page = PageParser(answer.text)
        assert page.tags <= {"html", "head", "meta", "title", "body", "main", "h1", "p", "code"}, (
            code
        )
        assert page.attributes <= {"lang", "charset", "name", "content"}, code
        assert KINDS[code].title in unescape(answer.text), code


async def test_the_type_of_a_problem_that_was_met_can_be_read_as_json(rig: Rig) -> None:
    problem = (await rig.get("jobs/none")).json()
    kind = (await rig.get(problem["type"], by=None, headers={"Accept": "application/json"})).json()
    assert {name: kind[name] for name in ("type", "code", "status", "title")} == {
        name: problem[name] for name in ("type", "code", "status", "title")
    }


async def test_there_is_no_page_of_what_is_no_problem(rig: Rig) -> None:
    answer = await rig.get("/problems/nothing", by=None)
    assert problem(answer) == (404, "not_found")
