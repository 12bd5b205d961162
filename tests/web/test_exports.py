"""Pages as files that are no text: over HTTP, and read back."""

import gzip
import io
import zipfile

import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pytest
from sqlalchemy import update
from warcio.archiveiterator import (  # type: ignore[import-untyped]  # it ships no types
    ArchiveIterator,
)

from crawlyard.core.access.user import LOCAL
from crawlyard.export.base import Format
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.results.exporting import export_pages, pages_of
from crawlyard.store.queries import PageQuery
from crawlyard.store.tables.jobs import pages
from tests.conformance.steps import database_of
from tests.web.crawled import HEADERS, HOSTILE, crawled
from tests.web.rig import Rig, problem

PARQUET = "application/vnd.apache.parquet"
WARC = "application/warc"


@pytest.mark.parametrize("query_or_type", ["format=parquet", PARQUET])
async def test_parquet_has_the_records_of_json_lines(rig: Rig, query_or_type: str) -> None:
    job_id, _ = await crawled(rig, name="Docs", keep_html=True)
    path = f"jobs/{job_id}/export"
    lines = pd.read_json(io.BytesIO((await rig.get(path)).content), lines=True)

    query, accept = (query_or_type, "*/*") if "=" in query_or_type else ("", query_or_type)
    response = await rig.get(f"{path}?{query}", headers={"Accept": accept})

    assert response.headers["content-type"] == PARQUET
    assert (
        response.headers["content-disposition"] == f'attachment; filename="docs-{job_id}.parquet"'
    )
    frame = pd.read_parquet(io.BytesIO(response.content))
    assert frame["url"].tolist() == lines["url"].tolist()
    assert frame["text"].tolist()[0] == lines["text"].tolist()[0] == HOSTILE
    assert frame["html"].tolist()[0] == HOSTILE
    assert [(h["name"], h["value"]) for h in frame["headers"][0]] == list(HEADERS)
    assert frame["error_kind"].tolist()[1:] == ["timeout", "http_4xx"]


async def test_filters_hold_for_every_format_and_warc_is_cut_into_records(rig: Rig) -> None:
    job_id, _ = await crawled(rig, keep_html=True)
    response = await rig.get(f"jobs/{job_id}/export?format=parquet&failed=true")
    archived = await rig.get(f"jobs/{job_id}/export?format=warc&failed=true")
    assert len(pd.read_parquet(io.BytesIO(response.content))) == 2
    assert [record.rec_type for record in ArchiveIterator(io.BytesIO(archived.content))] == [
        "warcinfo"
    ]

    job = (await find_job(rig.yard.store, LOCAL, job_id)).job
    stream = export_pages(pages_of(rig.yard.store, job, PageQuery()), Format.WARC)
    portions = [portion async for portion in stream]
    assert len(portions) == 2  # metadata of the file, and the response


@pytest.mark.parametrize("query_or_type", ["format=warc", WARC])
async def test_warc_has_the_html_that_was_kept(rig: Rig, query_or_type: str) -> None:
    job_id, _ = await crawled(rig, name="Docs", keep_html=True)

    query, accept = (query_or_type, "*/*") if "=" in query_or_type else ("", query_or_type)
    response = await rig.get(f"jobs/{job_id}/export?{query}", headers={"Accept": accept})

    assert response.headers["content-type"] == WARC
    assert (
        response.headers["content-disposition"] == f'attachment; filename="docs-{job_id}.warc.gz"'
    )
    targets = [
        (record.rec_type, record.rec_headers.get_header("WARC-Target-URI"), record.raw_stream)
        for record in ArchiveIterator(io.BytesIO(response.content), check_digests="raise")
        if record.rec_type != "warcinfo" and (record.content_stream().read() == HOSTILE.encode())
    ]
    assert [(kind, url) for kind, url, _ in targets] == [("response", "https://example.com/good")]


async def test_a_record_of_a_warc_is_truncated_only_if_its_body_is(rig: Rig) -> None:
    job_id, _ = await crawled(rig, keep_html=True)
    lengths = []
    for truncated in ("the text is cut at 100 bytes", "the body broke off: reset"):
        await database_of(rig.yard.store).write(
            lambda conn, note=truncated: conn.execute(update(pages).values(truncated=note))
        )
        answer = await rig.get(f"jobs/{job_id}/export?format=warc")
        lengths += [
            record.rec_headers.get_header("WARC-Truncated")
            for record in ArchiveIterator(io.BytesIO(answer.content))
            if record.rec_type == "response"
        ]

    assert lengths == [None, "unspecified"]


async def test_a_job_that_keeps_no_html_has_no_warc(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    response = await rig.get(f"jobs/{job_id}/export?format=warc")
    assert problem(response) == (422, "validation_failed")
    assert "expected a job that keeps HTML" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize("query_or_type", ["format=markdown", "application/zip"])
async def test_markdown_is_a_zip_with_the_text_of_each_page(rig: Rig, query_or_type: str) -> None:
    job_id, _ = await crawled(rig, name="Docs")
    query, accept = (query_or_type, "*/*") if "=" in query_or_type else ("", query_or_type)

    response = await rig.get(f"jobs/{job_id}/export?{query}", headers={"Accept": accept})

    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == f'attachment; filename="docs-{job_id}.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        [name] = archive.namelist()  # two others have no text
        assert HOSTILE in archive.read(name).decode()
    links = await rig.get(f"jobs/{job_id}/export?format=markdown&links=true")
    assert "expected jsonl, csv or parquet of links" in links.text
    bare, _ = await crawled(rig, text="none")
    without = await rig.get(f"jobs/{bare}/export?format=markdown")
    assert "expected a job that keeps text" in without.text
    unlinked, _ = await crawled(rig, keep_links=False)
    for path in ("export?links=true", "links", "check", "check/findings"):
        refused = await rig.get(f"jobs/{unlinked}/{path}")
        assert problem(refused) == (422, "validation_failed"), path
        assert "expected a job that keeps links (keep_links=true)" in refused.text


async def test_text_formats_are_exported_as_gzip_on_request(rig: Rig) -> None:
    job_id, _ = await crawled(rig, name="Docs")
    for form in ("jsonl", "csv"):
        plain = await rig.get(f"jobs/{job_id}/export?format={form}")
        response = await rig.get(f"jobs/{job_id}/export?format={form}&gzip=true")
        assert response.headers["content-type"] == "application/gzip"
        assert f'filename="docs-{job_id}.{form}.gz"' in response.headers["content-disposition"]
        assert gzip.decompress(response.content) == plain.content
    refused = await rig.get(f"jobs/{job_id}/export?format=markdown&gzip=true")
    assert "markdown is compressed already" in refused.text


async def test_the_pages_of_all_jobs_are_one_parquet(rig: Rig) -> None:
    first, _ = await crawled(rig, name="One", extract={"head": "h1"})
    second, _ = await crawled(rig, name="Two")

    response = await rig.get("pages/export?format=parquet&text=true")

    assert response.headers["content-disposition"] == 'attachment; filename="pages.parquet"'
    frame = pd.read_parquet(io.BytesIO(response.content))
    assert list(frame.columns[:3]) == ["job_id", "job_name", "extracted_json"]
    assert set(frame["job_id"]) == {first, second}
    assert set(frame["job_name"]) == {"One", "Two"}
    assert HOSTILE in set(frame["text"])


async def test_there_is_no_warc_of_all_jobs(rig: Rig) -> None:
    response = await rig.get("pages/export?format=warc")
    accepted = await rig.get("pages/export", headers={"Accept": WARC})
    assert problem(response) == (422, "validation_failed")
    assert problem(accepted) == (406, "not_acceptable")
    assert PARQUET in accepted.json()["detail"]
