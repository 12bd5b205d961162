"""The site map and the link report of a job."""

import pytest
from playwright.async_api import expect

from crawlyard.core.crawl.page import ErrorKind
from tests.browser.crawls import LEASE, begun, settled
from tests.browser.looking import faults_of, overflow_of
from tests.browser.rig import NARROW, Stage
from tests.browser.test_viewer import GONE, GUIDE, HOME, HOST, crawled
from tests.builders import a_batch, a_target, done, failed


async def mapped(stage: Stage) -> str:
    """Return a job that stopped early, with folders of all outcomes on two hosts."""
    job = await stage.job(name="A site", urls=[HOME.url])
    claim, now = await begun(stage, job), stage.yard.clock.now()
    pages = [a_target(f"guide/part-{n % 3}/{n}", host=HOST) for n in range(12)]
    api = [a_target(f"api/{n}", host=HOST) for n in range(6)]
    bad = [a_target(f"<b>&/{n}", host=HOST) for n in range(2)]
    never = [a_target(f"forum/{n}", host=HOST) for n in range(4)]
    other = [a_target("x", host="www.example.org")]
    outcomes = [done(target, fetched_at=now) for target in [*pages, *api[:3], *other]]
    outcomes += [failed(target, ErrorKind.HTTP_5XX, status=500, fetched_at=now) for target in bad]
    batch = a_batch([*pages, *api, *bad, *never, *other], outcomes)
    [answer] = await stage.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)
    await settled(stage, type(claim)(lease=answer.lease, job=claim.job, shard=claim.shard))
    return str(job["id"])


async def test_folders_are_areas_and_rows_that_lead_into_them_and_to_their_pages(
    stage: Stage,
) -> None:
    job = await mapped(stage)
    async with stage.page(f"/jobs/{job}") as page:
        await page.get_by_role("link", name="Site map").click()
        rows = page.get_by_role("table", name="Folders").locator("tbody tr")
        await expect(rows).to_have_count(2)
        await page.locator(".cell", has_text=HOST).click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{job}/map?under={HOST}%2F")
        await expect(rows).to_have_count(4)
        await expect(rows.nth(0)).to_contain_text(
            "guide/ all fetched 12 12 0 0", use_inner_text=True
        )
        await expect(rows.nth(1)).to_contain_text("50% fetched")
        await expect(rows.nth(2)).to_contain_text("never fetched")
        await expect(rows.nth(3)).to_contain_text("<b>&/")
        await expect(rows.nth(3)).to_contain_text("2 failed")
        states = ["c-done", "c-stopped", "c-idle", "c-failed"]
        for n, state in enumerate(states):
            assert state in (await page.locator(".cell").nth(n).get_attribute("class") or "")
        sizes = await page.locator(".cell").evaluate_all(
            "(cells) => cells.map((el) => (el.offsetWidth + 3) * (el.offsetHeight + 3))"
        )
        assert sizes[0] / sizes[2] == pytest.approx(12 / 4, rel=0.03)

        await rows.nth(0).get_by_role("link", name="guide/", exact=True).focus()
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(3)
        await rows.nth(0).get_by_role("link", name="Pages").click()
        await expect(page.get_by_role("table", name="Pages").locator("tbody tr")).to_have_count(4)
        await page.go_back()
        await expect(rows).to_have_count(3)
        await page.get_by_label("Folder", exact=True).get_by_role("link", name=f"{HOST}/").click()
        await expect(rows).to_have_count(4)


@pytest.mark.parametrize("dark", [False, True])
async def test_map_and_report_are_accessible_and_fit_a_phone(stage: Stage, dark: bool) -> None:
    job = await mapped(stage)
    path = f"/jobs/{job}/map?under={HOST}/"
    async with stage.page(path, dark=dark, bypass_csp=True, size=NARROW) as page:
        await expect(page.locator(".cell").first).to_be_visible()
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0
        await page.goto(f"/jobs/{job}/links")
        await expect(page.locator(".findings tbody tr")).to_have_count(2)
        assert await faults_of(page) == []
        assert await overflow_of(page) == 0


async def test_a_crawl_without_stored_links_has_no_link_report(stage: Stage) -> None:
    job = await stage.job(keep_links=False)
    async with stage.page(f"/jobs/{job['id']}/links") as page:
        section = page.get_by_label("Links", exact=True)
        await expect(section.get_by_role("status")).to_contain_text("did not store links")
        await expect(section.get_by_role("table")).to_be_hidden()
        await expect(page.locator("#toasts")).to_be_empty()


async def test_the_link_report_names_every_page_that_links_to_what_is_broken(stage: Stage) -> None:
    job, ids = await crawled(stage)
    async with stage.page(f"/jobs/{job}/links") as page:
        rows = page.get_by_role("table", name="Findings").locator("tbody tr")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("Broken link")
        await expect(rows).to_contain_text(GONE.url)
        status = page.get_by_label("Links", exact=True).get_by_role("status")
        await expect(status).to_contain_text(
            "5 links on 4 pages lead to 4 URLs. This check is incomplete: the job is running."
        )
        unchecked = page.get_by_text("Not checked: 1 URL beyond a limit, or not reached yet")
        await unchecked.click()
        await expect(page.locator(".unchecked").get_by_role("link")).to_be_visible()
        await rows.get_by_text(f"Linked from {GUIDE.url} “gone”").click()
        linked = rows.get_by_role("listitem")
        await expect(linked).to_have_text([f"{GUIDE.url} “gone” rel=nofollow"])
        await page.get_by_role("link", name="Broken links 1").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{job}/links?kind=broken_link")
        await expect(rows).to_have_count(1)
        await rows.locator("summary").click()
        await linked.get_by_role("link").click()
        await expect(page).to_have_url(f"{stage.base}/jobs/{job}/pages/{ids[GUIDE.url]}")
