"""Text of PDF documents, through pypdf; runs only in processes of the parse pool."""

import io
import logging
import resource

import pypdf
from msgspec import Struct

MAX_TEXT = 8 << 20
"""Characters of one document; the rest is left out."""

MAX_MEMORY = 1 << 30
"""Bytes that a process may use for one document: a stream of 1 kB can unpack to gigabytes."""


class PdfText(Struct, frozen=True):
    """Text of a PDF document; its pages are separated by blank lines."""

    text: str
    title: str
    lang: str
    cut: str = ""  # note on pages that were left out


class _DefectCounter(logging.Handler):
    """Counts the defects that pypdf logs and skips."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        del record
        self.count += 1


_logger = logging.getLogger("pypdf")
_logger.addHandler(logging.NullHandler())  # defects are noted in the record instead
_logger.propagate = False


def read(body: bytes) -> PdfText:
    """Return the text of a PDF, its title and its language.

    Raises:
        ValueError: it is damaged, needs a password or takes too much memory.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, before[1]))
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        text, cut = _read_pages(reader)
        title = (reader.metadata.title or "") if reader.metadata is not None else ""
        return PdfText(text, str(title), str(reader.root_object.get("/Lang", "")), cut)
    except MemoryError:
        raise ValueError(f"it takes more than {MAX_MEMORY >> 20} MB of memory") from None
    except pypdf.errors.FileNotDecryptedError:
        raise ValueError("the PDF is encrypted and needs a password") from None
    except Exception as error:  # not only those of pypdf: also KeyError, AttributeError, …
        raise ValueError(f"the PDF is damaged: {error}") from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _read_pages(reader: pypdf.PdfReader) -> tuple[str, str]:
    """Return the text of all pages, and a note on those that are damaged or beyond `MAX_TEXT`."""
    texts: list[str] = []
    size_left, total, readable = MAX_TEXT, _page_count(reader), 0
    defects = _DefectCounter()
    _logger.addHandler(defects)
    try:
        for number, page in enumerate(reader.pages, 1):
            defects.count = 0
            text = page.extract_text().strip()
            readable += bool(text) or not defects.count
            texts += [text[:size_left]] if text else []
            size_left -= len(text)
            if size_left < 0:
                return "\n\n".join(texts), f"the text is cut in page {number} of {total}"
    finally:
        _logger.removeHandler(defects)
    if not readable:
        raise ValueError("none of its pages can be read")
    damaged = total - readable
    cut = f"damaged pages of the PDF: {damaged} of {total}" if damaged > 0 else ""
    return "\n\n".join(texts), cut


def _page_count(reader: pypdf.PdfReader) -> int:
    """Return the number of pages that the document declares, damaged ones included."""
    tree = reader.root_object["/Pages"].get_object()
    count = tree.get("/Count") if isinstance(tree, pypdf.generic.DictionaryObject) else None
    return max(count, len(reader.pages)) if isinstance(count, int) else len(reader.pages)
