"""Markdown in a ZIP: safe and unique names, and archives that other programs read."""

import io
import struct
import zipfile
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.engine.urls import canonical
from crawlyard.errors import Invalid
from crawlyard.export import markdown
from crawlyard.export.markdown import Document, ZipWriter, chunks, name_of
from tests.builders import NOW

BASE = "https://docs.example.org"
_LONG = struct.pack("<I", 0x07064B50)  # begins what leads to numbers of 64 bits
PATHS = st.lists(
    st.one_of(
        st.sampled_from(["", "a", "A", "a.md", "index", "con", "aux.txt", "~", "%2e%2e", "..."]),
        st.text(max_size=70),
    ),
    max_size=12,
).map("/".join)


def a_document(url: str = f"{BASE}/a", text: bytes = b"# A\n\nText.", **fields: Any) -> Document:
    defaults: dict[str, Any] = {"title": "A", "fetched_at": NOW}
    return Document(url=url, text=text, **(defaults | fields))


def zipped(documents: Iterable[Document]) -> bytes:
    zip_writer = ZipWriter()
    return b"".join([*map(zip_writer.add, documents), *zip_writer.end()])


def opened(data: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(data))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "index.md"),
        ("/guide/", "guide/index.md"),
        ("/guide", "guide.md"),
        ("/guide/install.html", "guide/install.html.md"),
    ],
)
def test_names_read_as_the_urls_do(path: str, name: str) -> None:
    assert name_of(BASE + path) == f"docs.example.org/{name}"


def test_each_url_has_a_name_of_its_own_also_where_case_does_not_count() -> None:
    paths = ("/", "/index", "/a", "/A", "/a/", "/a/index", "/a.md", "/a.md/b", "/a?b", "/a?c")
    urls = [BASE + path for path in (*paths, "/con", "/_con", "/a%2Fb", "/a-b", "//", "/~a")]
    urls += ["http://docs.example.org/", "https://docs.example.org:8080/", "https://[::1]/"]
    urls += [f"{BASE}/{'x' * 200}{n}" for n in "12"] + [f"{BASE}/{'d/' * 40}{n}" for n in "12"]

    names = [name_of(url).lower() for url in urls]

    assert len(set(names)) == len(urls)
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    assert not folders & set(names)  # no file is where a folder has to be


@given(path=PATHS)
def test_no_url_leads_out_of_the_folder_or_to_a_name_that_a_system_refuses(path: str) -> None:
    try:
        url = canonical(f"{BASE}/{path}")
    except (Invalid, ValueError):
        return
    name = PureWindowsPath(name_of(url))
    assert not name.is_absolute()
    for part in name.parts:
        assert part.strip(". ") == part
        assert len(part.encode()) <= 255
        assert not set(part) & set('<>:"/\\|?*')
        assert not PureWindowsPath(part).is_reserved()
        assert part.isprintable()


def test_a_file_has_the_text_and_says_of_what_it_is() -> None:
    title = 'Say "hi": a --- b\n# x\u2028'
    with opened(zipped([a_document(title=title, text="\n# Über\n\n---\n".encode())])) as archive:
        [info] = archive.infolist()
        assert archive.testzip() is None
        _, head, text = archive.read(info).decode().split("---\n", 2)
    front_matter = yaml.safe_load(head)
    assert front_matter["url"] == f"{BASE}/a"
    assert front_matter["title"] == title
    assert front_matter["fetched_at"] == NOW.replace(microsecond=0)
    assert text == "\n# Über\n\n---\n"
    assert abs(datetime(*info.date_time, tzinfo=UTC) - NOW) < timedelta(seconds=2)
    assert info.external_attr >> 16 == 0o100644


def test_a_zip_may_have_more_files_and_bytes_than_the_first_format_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = [a_document(f"{BASE}/{n}") for n in range(9)]
    assert _LONG not in zipped(documents)
    for bound, most in (("_MANY", 9), ("_LARGE", 300)):
        with monkeypatch.context() as patched:
            patched.setattr(markdown, bound, most)
            data = zipped(documents)
        with opened(data) as archive:
            assert archive.testzip() is None
            assert len(archive.infolist()) == len(documents)
        assert _LONG in data


async def test_what_is_empty_is_a_zip_too_and_files_come_one_by_one() -> None:
    async def some(*documents: Document) -> AsyncGenerator[Document]:
        for document in documents:
            yield document

    empty = [part async for part in chunks(some())]
    parts = [part async for part in chunks(some(a_document(), a_document(f"{BASE}/b")))]

    assert opened(b"".join(empty)).namelist() == []
    assert len(parts) == 4  # two files, the directory, and its end
    assert opened(b"".join(parts)).namelist() == ["docs.example.org/a.md", "docs.example.org/b.md"]


def test_a_page_of_before_1980_is_dated_then() -> None:
    old = datetime(1970, 1, 1, tzinfo=UTC)
    [info] = opened(zipped([a_document(fetched_at=old)])).infolist()
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
