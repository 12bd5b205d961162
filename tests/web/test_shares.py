"""Share links: what a guest sees, and never sees, and when a link ends."""

import logging
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.jobs.lifecycle import State
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.site import SiteOptions
from tests.web.crawled import crawled, in_state
from tests.web.rig import PUBLIC_URL, URL, Rig, a_rig, pointers, problem

MISSING = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await a_rig(open_in_memory())
    await rig.user("ada")
    yield rig
    await rig.close()
    await rig.yard.store.close()


async def a_link(rig: Rig, job: str, by: str = "ada", **fields: Any) -> dict[str, Any]:
    answer = await rig.post("shares", {"job": job} | fields, by=by)
    assert answer.status_code == 201, answer.text
    link: dict[str, Any] = answer.json()
    return link


async def opened(rig: Rig, link: dict[str, Any], path: str = "", **more: Any) -> httpx.Response:
    return await rig.get(f"/shared/{link['token']}{path}", by=None, **more)


async def a_crawl(rig: Rig, **form: Any) -> str:
    return await in_state(rig, State.COMPLETED, "ada", **form)


class TestGuest:
    async def test_a_guest_sees_the_job_and_its_pages(self, rig: Rig) -> None:
        job = await a_crawl(rig, name="Docs of the product")
        link = await a_link(rig, job)
        assert link["share_url"] == f"{PUBLIC_URL}/shared/{link['token']}"
        assert re.fullmatch(r"cyv_[\w-]{43}", link["token"])

        page = await opened(rig, link)

        assert page.status_code == 200, page.text
        assert "Docs of the product" in page.text
        assert f'class="url">{URL}' in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        assert "noindex" in page.headers["x-robots-tag"]
        for tab in ("problems", "changes"):
            assert (await opened(rig, link, f"?tab={tab}")).status_code == 200
        [listed] = (await rig.get("shares", by="ada")).json()["items"]
        assert (listed["id"], listed["job_id"]) == (link["id"], job)
        assert listed["last_used_at"] is not None
        assert "token" not in listed

    async def test_nothing_private_is_in_any_byte(self, rig: Rig) -> None:
        job = await a_crawl(
            rig,
            name="https://ada:CANARY1@example.com/",
            headers={"X-Team": "CANARY2"},
            proxies=["http://ada:CANARY3@93.184.216.34:3128"],
            tags=["CANARY4"],
            keep_html=True,
        )
        link = await a_link(rig, job, downloads=True, name="CANARY5")
        paths = ["", "?tab=problems", "?tab=changes", "/pages.jsonl", "/pages.csv"]
        for path in paths:
            answer = await opened(rig, link, path)
            assert answer.status_code == 200, (path, answer.text)
            assert "CANARY" not in answer.text, path
            assert "ada" not in answer.text.lower().replace("metadata", ""), path
            assert '"html":' not in answer.text, path
            assert '"headers":' not in answer.text, path
            assert answer.headers["cache-control"] == "no-store", path

    @pytest.mark.parametrize(
        "secrets",
        [{"headers": {"Authorization": "Bearer hunter2"}}, {"headers": {"Cookie": "id=1"}}],
    )
    async def test_pages_fetched_with_credentials_are_not_shown(
        self, rig: Rig, secrets: dict[str, Any]
    ) -> None:
        link = await a_link(rig, await a_crawl(rig, **secrets), downloads=True)
        for tab in ("pages", "problems", "changes"):
            page = await opened(rig, link, f"?tab={tab}")
            assert "session or credentials" in page.text, tab
            assert "<table" not in page.text, tab
        assert (await opened(rig, link, "/pages.jsonl")).status_code == 404

    async def test_files_are_for_links_that_allow_them(self, rig: Rig) -> None:
        job = await a_crawl(rig)
        for downloads, status in [(False, 404), (True, 200)]:
            link = await a_link(rig, job, downloads=downloads)
            answer = await opened(rig, link, "/pages.jsonl")
            assert answer.status_code == status
            assert ("/pages.csv" in (await opened(rig, link)).text) is downloads
            assert (await opened(rig, link, "/pages.warc")).status_code == 404
        assert answer.text.startswith('{"url":')

    async def test_long_lists_have_pages(self, rig: Rig) -> None:
        link = await a_link(rig, await a_crawl(rig))
        for query, status in [("?after=0", 200), ("?after=x", 404), ("?tab=log", 404)]:
            assert (await opened(rig, link, query)).status_code == status, query

    async def test_the_token_opens_nothing_else(self, rig: Rig) -> None:
        job = await a_crawl(rig)
        token = (await a_link(rig, job))["token"]
        assert (await rig.get(f"jobs/{job}", secret=token)).status_code == 401
        sign_in = await rig.post("auth/login", {"code": token}, by=None)
        assert sign_in.status_code == 401
        assert (await rig.post(f"/hooks/{token}", {}, by=None)).status_code == 401


class TestEnd:
    async def test_it_expires(self, rig: Rig) -> None:
        link = await a_link(rig, await a_crawl(rig), days=1)
        await rig.clock.advance(timedelta(hours=23))
        assert (await opened(rig, link)).status_code == 200
        await rig.clock.advance(timedelta(hours=2))
        assert (await opened(rig, link)).status_code == 404

    async def test_it_is_revoked_by_its_owner_and_not_by_others(self, rig: Rig) -> None:
        await rig.user("bob")
        link = await a_link(rig, await a_crawl(rig))
        for by, status in [("bob", 404), ("ada", 204), ("ada", 404)]:
            answer = await rig.ask("DELETE", f"shares/{link['id']}", by=by)
            assert answer.status_code == status, by
        assert (await opened(rig, link)).status_code == 404

    async def test_it_ends_with_its_job(self, rig: Rig) -> None:
        job = await a_crawl(rig)
        link = await a_link(rig, job)
        assert (await rig.ask("DELETE", f"jobs/{job}", by="ada")).status_code == 204
        assert (await opened(rig, link)).status_code == 404

    @pytest.mark.parametrize("change", [{"role": "viewer"}, {"disabled": True}])
    async def test_it_ends_with_the_right_of_its_creator(
        self, rig: Rig, change: dict[str, Any]
    ) -> None:
        link = await a_link(rig, await a_crawl(rig))
        version = (await rig.get("users/ada")).headers["etag"]
        answer = await rig.ask("PATCH", "users/ada", json=change, headers={"If-Match": version})
        assert answer.status_code == 200, answer.text
        assert (await opened(rig, link)).status_code == 404

    async def test_a_setting_turns_all_links_off(self, rig: Rig) -> None:
        job = await a_crawl(rig)
        link = await a_link(rig, job)
        for links, status in [(False, 404), (True, 200)]:
            version = (await rig.get("settings/sharing")).headers["etag"]
            answer = await rig.ask(
                "PUT", "settings/sharing", json={"links": links}, headers={"If-Match": version}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["effective"]["links"] is links
            assert (await opened(rig, link)).status_code == status
            created = await rig.post("shares", {"job": job}, by="ada")
            assert created.status_code == (201 if links else 403)


class TestCreation:
    @pytest.mark.parametrize("days", [0, -1, 90.5])
    async def test_the_days_are_bounded(self, rig: Rig, days: float) -> None:
        answer = await rig.post("shares", {"job": await a_crawl(rig), "days": days}, by="ada")
        assert pointers(answer) == ["/days"]

    async def test_others_and_viewers_create_none(self, rig: Rig) -> None:
        await rig.user("bob")
        await rig.user("vera", Role.VIEWER)
        job = await a_crawl(rig)
        for by, status in [("bob", 404), ("vera", 403)]:
            assert (await rig.post("shares", {"job": job}, by=by)).status_code == status, by
        assert (await rig.post("shares", {"job": MISSING}, by="ada")).status_code == 404

    async def test_without_a_public_url_there_are_none(self) -> None:
        rig = await a_rig(open_in_memory(), public_url="")
        job = (await crawled(rig, LOCAL.id))[0]
        answer = await rig.post("shares", {"job": job})
        assert problem(answer)[0] == 409
        assert "public_url" in answer.json()["detail"]
        await rig.close()
        await rig.yard.store.close()

    async def test_the_host_header_is_never_in_a_link(self, rig: Rig) -> None:
        answer = await rig.post(
            "shares", {"job": await a_crawl(rig)}, by="ada", headers={"Host": "localhost:8700"}
        )
        assert answer.json()["share_url"].startswith(f"{PUBLIC_URL}/shared/")

    async def test_links_are_listed_by_job(self, rig: Rig) -> None:
        jobs = [await a_crawl(rig), await a_crawl(rig)]
        links = [await a_link(rig, job) for job in jobs]
        for job, link in zip(jobs, links, strict=True):
            listed = (await rig.get(f"shares?job={job}", by="ada")).json()["items"]
            assert [each["id"] for each in listed] == [link["id"]]

    async def test_a_repeated_request_does_not_show_the_link_again(self, rig: Rig) -> None:
        job, key = await a_crawl(rig), {"Idempotency-Key": "k1"}
        first, again = [
            (await rig.post("shares", {"job": job}, by="ada", headers=key)).json() for _ in "12"
        ]
        assert first["id"] == again["id"]
        assert (again["token"], again["share_url"]) == (None, None)


class TestServer:
    async def test_guesses_are_limited_and_links_are_not(self) -> None:
        rig = await a_rig(open_in_memory(), SiteOptions(rate_limits=True))
        link = await a_link(rig, (await crawled(rig, LOCAL.id))[0], by=LOCAL.id)
        wrong = {"token": f"cyv_{'x' * 43}"}
        answers = [(await opened(rig, wrong)).status_code for _ in range(7)]
        assert answers == [404] * 5 + [429] * 2
        assert (await opened(rig, link)).status_code == 200
        await rig.close()
        await rig.yard.store.close()

    async def test_logs_and_problems_do_not_have_the_token(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        link = await a_link(rig, await a_crawl(rig))
        with caplog.at_level(logging.DEBUG):
            answer = await rig.ask("POST", f"/shared/{link['token']}", by=None)
        assert answer.status_code == 405, answer.text
        ours = [r.getMessage() for r in caplog.records if r.name.startswith("crawlyard")]
        assert link["token"] not in "".join(ours) + answer.text
        assert "/shared/…" in answer.text
