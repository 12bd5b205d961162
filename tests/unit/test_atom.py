"""The Atom feed of a schedule: well-formed XML for any name and URL."""

from xml.etree import ElementTree as ET

from msgspec.structs import replace

from crawlyard.core.crawl.changes import ChangeKind, RunChanges, StoredChange
from crawlyard.export.atom import feed
from tests.builders import NOW
from tests.builders_schedules import a_schedule

ATOM = "{http://www.w3.org/2005/Atom}"


def test_any_text_is_kept_as_far_as_xml_has_it() -> None:
    schedule = replace(a_schedule(), name="<&> \x00\x1b\ud800 \U0001f40b")
    key = schedule.id
    run = RunChanges(job_id="j", schedule_id=key, base_id=None, compared_at=NOW, counts={})
    url = "https://example.com/?a=1&b='\"<"
    to = f"{url}2"
    moved = StoredChange(job_id="j", schedule_id=key, kind=ChangeKind.MOVED, url=url, moved_to=to)
    lost = replace(moved, job_id="deleted meanwhile")

    root = ET.fromstring(feed(schedule, [moved, lost], {"j": run}))

    assert root.findtext(f"{ATOM}title") == "Changes found by <&>  \U0001f40b"
    [entry] = root.findall(f"{ATOM}entry")
    link = entry.find(f"{ATOM}link")
    assert link is not None
    assert link.attrib["href"] == to
    assert entry.findtext(f"{ATOM}title") == f"moved: {url}"


def test_a_feed_without_entries_has_a_date() -> None:
    schedule = a_schedule()
    root = ET.fromstring(feed(schedule, [], {}))
    assert root.findtext(f"{ATOM}updated")
    assert root.findall(f"{ATOM}entry") == []


def test_a_feed_links_to_itself_and_its_schedule_where_the_yard_has_a_public_url() -> None:
    schedule = a_schedule()
    public, plain = (feed(schedule, [], {}, url) for url in ("https://yard.example.org", ""))
    links = {
        link.attrib["rel"]: link.attrib["href"]
        for link in ET.fromstring(public).findall(f"{ATOM}link")
    }
    assert links == {
        "self": f"https://yard.example.org/api/v1/schedules/{schedule.id}/changes.atom",
        "alternate": f"https://yard.example.org/schedules/{schedule.id}",
    }
    assert ET.fromstring(plain).findall(f"{ATOM}link") == []
