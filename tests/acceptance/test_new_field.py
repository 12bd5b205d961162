"""A new field of a record, declared in one place of a copy of the source, appears everywhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
SPEC = "crawlyard/core/jobs/spec.py"
BEFORE = "    def __post_init__(self) -> None:\n        check_record(self, self._checks())\n"
FIELD = """    shoe_size: Annotated[
        Count,
        about("size of the shoes", panel=Panel.OUTPUT, editable=True, least=1, most=60),
    ] = 42

"""
PAGE = "crawlyard/core/crawl/page.py"
PAGE_BEFORE = "    links: int = 0 "
PAGE_FIELD = "    shoe_sizes: int = 7\n"
PAGE_PYTHON = """
import json
from datetime import UTC, datetime
from crawlyard.core.answer import as_dict
from crawlyard.core.crawl.page_answers import PageOut, record_of
from crawlyard.core.crawl.page import Page, Target
from crawlyard.export.csv import Csv
from crawlyard.export.jsonl import JsonLines
from crawlyard.export.parquet import COLUMNS, Parquet
from crawlyard.store.codec.jobs import PAGE_COLUMNS, page_of, page_row
from crawlyard.store.tables.jobs import pages
from crawlyard.web.openapi import document

page = Page(url="u", final_url="u", fetched_at=datetime.now(UTC), shoe_sizes=43)
record = record_of(page, {})
parquet = Parquet()
parquet.add(record)
row = page_row(1, Target(url="u", fp=1, host="h"), page) | {"id": 1, "parent": None}
head, line = (Csv().head() + Csv().record(record)).decode().splitlines()
shape = document()["components"]["schemas"]["StoredPageOut"]
print(json.dumps({
    "json": json.loads(JsonLines().record(record))["shoe_sizes"],
    "answered": as_dict(PageOut.of(page), {"shoe_sizes"})["shoe_sizes"],
    "csv": dict(zip(head.split(","), line.split(",")))["shoe_sizes"],
    "parquet": str(COLUMNS["shoe_sizes"]),
    "column": str(pages.c.shoe_sizes.type),
    "stored": page_of([row[name] for name in PAGE_COLUMNS]).page.shoe_sizes,
    "schema": shape["properties"]["shoe_sizes"],
    "always": "shoe_sizes" in shape["required"],
}))
"""
PYTHON = """
import json
from crawlyard.core.jobs.spec_json import EDITABLE
from crawlyard.core.jobs.spec_json import form_of, spec_of
from crawlyard.cli.jobs.edits import FIELDS
from crawlyard.store.codec.base import to_json
from crawlyard.core.endpoints.schema import form_schema
from crawlyard.core.jobs.answers import SpecOut
from crawlyard.web.assets import modules_of
from crawlyard.web.pages import _NAV, PAGES, render

PREFIXES = {"new": "", "schedule": "overrides.", "template": "spec."}

def of_page(page):
    about = {"page": page, "path_params": {}, "static": "", "theme": "", "user": "", "permits": ""}
    rest = dict.fromkeys(("sheets", "asks"), ()) | {"nav": _NAV, "events": ""}
    user = {"user": {"id": "", "role": ""}, "seq": 0}
    html = render(f"{page.module}.html", **(about | rest | user | {"actions": ""}))
    return html, PREFIXES[page.module]

spec = spec_of({"urls": "http://localhost/", "shoe_size": "43"})
print(json.dumps({
    "form": form_of(spec)["shoe_size"],
    "stored": json.loads(to_json(spec))["shoe_size"],
    "schema": form_schema()["properties"]["shoe_size"],
    "answered": SpecOut.of(spec).shoe_size,
    "editable": "shoe_size" in EDITABLE,
    "set": "shoe_size" in FIELDS,
    "shown": {
        page.path: f'name="{prefix}shoe_size" data-as="quantity" data-label="Shoe size"' in html
        and "Size of the shoes. 1 to 60." in html
        for page in PAGES
        if "js/parts/crawl.js" in modules_of(f"js/pages/{page.module}.js")
        for html, prefix in [of_page(page)]
    },
}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with a new field in `JobSpec` and one in `Page`."""
    copy = tmp_path_factory.mktemp("new-field")
    shutil.copytree(SOURCE, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path, before, field in ((SPEC, BEFORE, FIELD), (PAGE, PAGE_BEFORE, PAGE_FIELD)):
        text = (copy / path).read_text("utf-8")
        assert text.count(before) == 1
        (copy / path).write_text(text.replace(before, field + before), "utf-8")
    return copy


def output_of(source: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(source), "COLUMNS": "100"}
    run = subprocess.run(
        (sys.executable, *words), env=environment, capture_output=True, text=True, check=False
    )
    return run.stdout + run.stderr


def test_a_new_field_has_an_option_and_its_bounds(source: Path) -> None:
    help_text = output_of(source, "-m", "crawlyard", "crawl", "--help-all")
    refused = output_of(
        source, "-m", "crawlyard", "crawl", "http://localhost/", "--shoe-size", "99"
    )

    assert "--shoe-size" in help_text
    assert "Size of the shoes." in help_text
    assert "--shoe-size: expected 1 to 60, got 99" in refused


def test_a_new_field_is_read_stored_answered_and_can_be_set(source: Path) -> None:
    assert json.loads(output_of(source, "-c", PYTHON)) == {
        "form": 43,
        "stored": 43,
        "schema": {
            "description": "Size of the shoes: a whole number, or text: `20k`.",
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 60,
            "x-panel": "Output",
            "x-editable": True,
        },
        "answered": 43,
        "editable": True,
        "set": True,
        "shown": dict.fromkeys(
            (
                "/jobs/new",
                "/schedules/new",
                "/schedules/{schedule}",
                "/templates/new",
                "/templates/{template}",
            ),
            True,
        ),
    }


def test_a_new_field_of_a_page_is_stored_answered_and_exported(source: Path) -> None:
    assert json.loads(output_of(source, "-c", PAGE_PYTHON)) == {
        "json": 43,
        "answered": 43,
        "csv": "43",
        "parquet": "int64",
        "column": "INTEGER",
        "stored": 43,
        "schema": {"type": "integer"},
        "always": True,
    }
