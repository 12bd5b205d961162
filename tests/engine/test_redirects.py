"""Redirects that lead nowhere, and links with credentials: what is asked, and what is told."""

from collections.abc import Mapping

import pytest

from crawlyard import State, StateReason, Yard
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.demo.site import HTML, Answer
from tests.engine.rig import Outcome, a_spec, crawled
from tests.jobs import events_of
from tests.site import Serve

COOKIE = ("Set-Cookie", "seen=1")
WITH_COOKIE = ", also with the cookies that the site sets"


class Fixed:
    """A site that answers each path as it is told."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = answers

    def answer(self, method: str, path: str, host: str) -> Answer:
        return self.answers.get(path, Answer(404))


def to(location: str, *headers: tuple[str, str]) -> Answer:
    return Answer(302, (("Location", location), *headers))


def html(body: str) -> Answer:
    return Answer(200, (("Content-Type", HTML),), body.encode())


def details(run: Outcome, base: str) -> dict[str, str]:
    return {
        page.final_url.removeprefix(base): page.error.detail for page in run.pages if page.error
    }


async def test_a_redirect_to_itself_is_an_error_also_with_its_cookie(
    yard: Yard, site_server: Serve
) -> None:
    answers = {
        "/cookie": to("/cookie", ("Set-Cookie", "seen=1; Path=/cookie")),
        "/plain": to("/plain#top"),
        "/dots": to("/x/../dots"),
    }
    server = await site_server(Fixed(answers))

    run = await crawled(yard, a_spec(*(f"{server.url}{path}" for path in answers)))

    assert details(run, server.url) == {
        "/cookie": f"redirect loop: it leads back to itself{WITH_COOKIE}",
        "/plain": "redirect loop: it leads back to itself",
        "/dots": "redirect loop: it leads back to itself",
    }
    assert {page.error and page.error.kind for page in run.pages} == {ErrorKind.BAD_REDIRECT}
    paths = sorted(hit.path for hit in server.hits if hit.path in answers)
    assert paths == sorted([*answers, "/cookie"])
    assert (run.usage.redirects, run.usage.errors, run.usage.done) == (3, 3, 3)
    assert run.job.state_reason is StateReason.START_FAILED
    assert "redirect loop: it leads back to itself" in run.job.detail


@pytest.mark.parametrize(
    ("where", "last", "back", "redirects"),
    [
        ("nowhere", "/home", "/check", 3),
        ("/", "/home", "/check", 3),  # it was brought everywhere
        ("/check", "/check", "/home", 4),  # requests without the cookie are repeated
        ("/home", "/home", "/check", 5),
    ],
)
async def test_a_loop_of_several_redirects_is_an_error_of_the_job_too(
    yard: Yard, site_server: Serve, where: str, last: str, back: str, redirects: int
) -> None:
    leads = {"/": "/check", "/check": "/home", "/home": "/check"}
    server = await site_server(
        Fixed(
            {path: to(next_, *([COOKIE] if path == where else [])) for path, next_ in leads.items()}
        )
    )

    run = await crawled(yard, a_spec(server.url))

    detail = f"redirect loop: it leads back to {server.url}{back}"
    detail += "" if where == "nowhere" else WITH_COOKIE
    assert details(run, server.url) == {last: detail}
    assert run.errors == {f"{server.url}{last}": ErrorKind.BAD_REDIRECT}
    assert run.usage.redirects == redirects
    assert (run.job.state, run.job.detail) == (State.FAILED, f"{server.url}{last}: {detail}")


async def test_a_redirect_to_a_known_url_that_led_nowhere_is_no_loop(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(
        Fixed(
            {
                "/": html('<a href="/a">a</a><a href="/b">b</a>'),
                "/a": to("/", COOKIE),
                "/b": to("/a"),
            }
        )
    )

    run = await crawled(yard, a_spec(server.url))

    assert not run.errors
    assert run.usage.redirects == 2
    assert run.job.state is State.COMPLETED


async def test_credentials_in_links_are_dropped_and_counted(yard: Yard, site_server: Serve) -> None:
    site = Fixed({})
    server = await site_server(site)
    with_password = server.url.replace("http://", "http://ada:s3cret@")
    site.answers = {
        "/": html(f'<a href="{with_password}/a">a</a><a href="{with_password}/b">b</a>'),
        "/a": html(f'<a href="{with_password}/b">b</a><a href="mailto:ada@example.org">m</a>'),
        "/b": to(f"{with_password}/c"),
        "/c": html("<p>c"),
    }

    run = await crawled(yard, a_spec(server.url))

    assert run.ok == {f"{server.url}{path}" for path in ("/", "/a", "/c")}
    assert not any("authorization" in map(str.lower, hit.headers) for hit in server.hits)
    notes = [str(e.data.get("note", "")) for e in await events_of(yard, run.job.id)]
    assert [note for note in notes if note] == [
        "4 links had a user name or password and were followed without it"
    ]
