"""The page of the API: all of it, with nothing to load from elsewhere."""

import re

from crawlyard.web.openapi import document
from tests.web.rig import Rig


async def test_the_page_has_every_operation_and_loads_nothing_from_elsewhere(rig: Rig) -> None:
    answer = await rig.get("docs", by=None)

    openapi = document()
    operations = [
        operation["operationId"]
        for item in openapi["paths"].values()
        for operation in item.values()
    ]
    assert answer.status_code == 200
    assert sorted(re.findall(r'<details id="([^"]+)"', answer.text)) == sorted(operations)
    assert set(re.findall(r'(?:src|href)="([^"#][^"]*)"', answer.text)) == {
        "docs.css",
        "openapi.json",
        "/problems/validation-failed",
    }
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert "style-src 'self'" in answer.headers["content-security-policy"]


async def test_an_operation_lists_its_parameters_body_and_responses(rig: Rig) -> None:
    page = (await rig.get("docs", by=None)).text

    retry = part(page, "jobs_retry")
    assert "<h3>Parameters</h3>" in retry
    assert "<td><code>job_id</code></td><td>string</td>" in retry
    create = part(page, "users_create")
    assert "<td><code>role</code></td><td>admin, operator, viewer</td>" in create
    assert re.search(r"<td><code>id</code></td><td>string</td><td>[^<]*\(required\)</td>", create)
    assert "<h3>Responses</h3>" in create
    assert re.search(r"<td><code>201</code></td><td>[^<]* <code>UserOut</code></td>", create)
    listed = part(page, "users_list")
    assert "<td><code>limit</code></td><td>integer 1 to 200</td>" in listed
    assert "<code>Slice UserOut</code>" in listed


def part(page: str, operation: str) -> str:
    """Return what the page has of an operation."""
    return page.partition(f'<details id="{operation}">')[2].partition("</details>")[0]


async def test_its_style_sheet_loads_nothing_either(rig: Rig) -> None:
    answer = await rig.get("docs.css", by=None)
    assert answer.headers["content-type"].startswith("text/css")
    assert "url(" not in answer.text
    assert "@import" not in answer.text
