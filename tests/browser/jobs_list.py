"""The list of jobs on its page, and jobs for it to show."""

import re
from typing import Any

from playwright.async_api import Locator, Page

from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spec_json import JobRequest
from tests.browser.crawls import begun, moved_on, settled
from tests.browser.rig import Stage

PACE = Pulse(rate=19.5, spread=9, pages_rate=3, samples=8)
FAR: dict[str, Any] = {"discovered": 4000, "done": 1000, "pages": 990, "errors": 10}


def rows(page: Page) -> Locator:
    return page.locator("#jobs tbody tr[data-id]")


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has=page.get_by_role("link", name=name, exact=True))


def group(page: Page, title: str) -> Locator:
    """Return the heading of a group, with its count if that is known."""
    return page.get_by_role("rowheader", name=re.compile(rf"^{title}"))


async def many(stage: Stage, count: int, name: str = "job", **form: Any) -> list[dict[str, Any]]:
    """Make jobs with numbers behind their names, the first from 1."""
    jobs = []
    for n in range(1, count + 1):
        request = JobRequest(
            form={"urls": ["https://docs.example.org/"], "name": f"{name} {n}"} | form
        )
        submitter = stage.site.yard.services.submitter
        draft = await submitter.draft(LOCAL, await submitter.prepare(LOCAL, request))
        jobs.append({"id": (await submitter.enter(draft)).id})
    return jobs


async def ended(stage: Stage, job: dict[str, Any], move: Move, **params: Any) -> None:
    """End a job after some pages, with ten failed URLs."""
    [claim] = await moved_on(stage, [await begun(stage, job)], **FAR)
    await settled(stage, claim, move, **params)
