"""The page of the API: all of it, with nothing to load from elsewhere."""

import re

from crawlyard.web.openapi import document
from tests.web.rig import Rig


async def test_the_page_has_every_operation_and_loads_nothing_from_elsewhere(rig: Rig) -> None:
    answer = await rig.get("docs", by=None)

    told = document()
    operations = [
        operation["operationId"] for item in told["paths"].values() for operation in item.values()
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


async def test_its_style_sheet_loads_nothing_either(rig: Rig) -> None:
    answer = await rig.get("docs.css", by=None)
    assert answer.headers["content-type"].startswith("text/css")
    assert "url(" not in answer.text
    assert "@import" not in answer.text
