"""Text of PDF documents, and its limits."""

import asyncio
import io
import zlib

import pypdf
import pytest

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import Extracted, ExtractError, ExtractOptions, PageSource
from crawlyard.engine.extract.parse_pool import ParsePool

SOURCE = PageSource(
    url="http://h.example/a.pdf", is_pdf=True, options=ExtractOptions(text=TextMode.MAIN)
)


def document(*pages: bytes, title: str = "A title") -> bytes:
    """Return a PDF whose pages have these content streams, packed."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en-GB) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        f"<< /Title ({title}) >>".encode(),
    ]
    for number, content in enumerate(pages):
        font = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {5 + 2 * number} 0 R "
            f"/Resources << {font} >> >>".encode()
        )
        packed = zlib.compress(content)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(head + packed + b"\nendstream")
    body, places = b"%PDF-1.7\n", []
    for number, pdf_object in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n".encode() + pdf_object + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R /Info 3 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return body + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def text_content(text: str) -> bytes:
    return f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode()


def encrypted(body: bytes, password: str) -> bytes:
    """Return a PDF that opens with a password."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(body))
    writer.encrypt(password, "owner", algorithm="AES-256")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def scan() -> bytes:
    """Return a PDF whose only page is an inline image of one pixel."""
    return document(b"q 100 0 0 100 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q")


async def read(body: bytes, limit_s: float = 30) -> Extracted:
    pool = ParsePool(1, limit_s=limit_s)
    try:
        return await pool.run(body, SOURCE)
    finally:
        await pool.close()


async def test_a_pdf_has_its_text_title_and_language() -> None:
    page = await read(document(text_content("First page"), b"", text_content("Second page")))
    assert (page.text, page.title, page.lang) == ("First page\n\nSecond page", "A title", "en-GB")


@pytest.mark.parametrize(
    "body", [b"", b"%PDF-1.7\n", document(text_content("x"))[:200], b"\0" * 5_000]
)
async def test_what_is_no_pdf_is_an_error(body: bytes) -> None:
    with pytest.raises(ExtractError, match=r"^the PDF is damaged: "):
        await read(body)


async def test_an_encrypted_pdf_is_an_error_only_if_it_needs_a_password() -> None:
    good = document(text_content("Hello"))
    assert (await read(encrypted(good, ""))).text == "Hello"
    with pytest.raises(ExtractError, match=r"^the PDF is encrypted and needs a passw"):
        await read(encrypted(good, "secret"))


async def test_damaged_pages_of_a_pdf_are_counted_in_its_note() -> None:
    packed, kids = zlib.compress(text_content("Second")), b"/Kids [4 0 R 6 0 R 8 0 R]"
    good = document(text_content("First"), text_content("Second"), text_content("Third"))
    for bad, text, damaged in (
        (good, "First\n\nSecond\n\nThird", ""),
        (good.replace(packed, b"\xff" * len(packed)), "First\n\nThird", "1 of 3"),
        (good.replace(kids, b"/Kids [4 0 R 99 0 R]     "), "First", "2 of 3"),
    ):
        page = await read(bad)
        note = damaged and f"damaged pages of the PDF: {damaged}"
        assert (page.text, page.cut, page.nearly_empty) == (text, note, False)
    with pytest.raises(ExtractError, match=r"damaged: none of its pages can be read"):
        await read(
            document(text_content("x")).replace(zlib.compress(text_content("x")), b"\xff" * 40)
        )


async def test_a_pdf_of_images_is_nearly_empty() -> None:
    page = await read(scan())
    assert (page.text, page.cut, page.nearly_empty) == ("", "", True)


async def test_a_stream_that_unpacks_to_gigabytes_is_an_error_or_cut_short() -> None:
    bomb = document(text_content("x") + b" " * (1 << 28), text_content("y"))
    assert len(bomb) < 1 << 20
    try:
        page = await read(bomb)
    except ExtractError as error:
        assert "memory" in str(error) or "Limit" in str(error)  # noqa: PT017
    else:
        assert len(page.text or "") < 100


async def test_a_slow_pdf_is_an_error_and_does_not_block_other_pages() -> None:
    slow = document(text_content("x") * 200_000)
    pool = ParsePool(2, limit_s=0.3)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ExtractError, match=r"took longer than 0\.3 s"):
                await pool.run(slow, SOURCE)
            small = PageSource(url="http://h.example/")
            assert (await pool.run(b"<title>t", small)).title == "t"
    finally:
        await pool.close()
