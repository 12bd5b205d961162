"""Text of PDF documents, through pypdf. It runs in a process of the parse pool alone."""

import io
import logging
import resource
from collections.abc import Iterator

import pypdf

MAX_TEXT = 8 << 20
"""Characters of one document; what follows is left out."""

MAX_MEMORY = 1 << 30
"""Bytes that a process may use for one document: a stream of 1 kB can unpack to gigabytes."""


def read(body: bytes) -> tuple[str, str, str]:
    """Return the text of a PDF, its title and its language; pages are blank lines apart.

    Raises:
        ValueError: it takes too much memory.
        pypdf.errors.PyPdfError: it is damaged, or encrypted with a password.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it logs each flaw of a document
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, before[1]))
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        text = "\n\n".join(_pages(reader))
        title = (reader.metadata.title or "") if reader.metadata is not None else ""
        return text, str(title), str(reader.root_object.get("/Lang", ""))
    except MemoryError:
        raise ValueError(f"it takes more than {MAX_MEMORY >> 20} MB of memory") from None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _pages(reader: pypdf.PdfReader) -> Iterator[str]:
    left = MAX_TEXT
    for page in reader.pages:
        text = page.extract_text().strip()[:left]
        left -= len(text)
        if text:
            yield text
        if left <= 0:
            return
