"""Import and export of template files, in a thread beside the event loop."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from crawlyard.core.templates.template import MAX_CONTENT_BYTES, FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.services.templates.files import data_of, read, written
from crawlyard.services.templates.manager import check_draft

_FILE = "file"


class TemplateIntake:
    """Reads and writes files, one at a time: a megabyte of YAML takes seconds of CPU time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "crawlyard-templates")

    async def read(self, content: str) -> TemplateDraft:
        """Return the template in the text of a file, checked; no URL in it is fetched.

        Raises:
            Invalid: the text is too large, is not YAML or JSON, or has a value that is not
                valid; the message says where.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, _read, content)

    async def written(self, draft: TemplateDraft, form: FileFormat) -> str:
        """Return the text of a file that `read` turns back into *draft*."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, written, draft, form)


def _read(content: str) -> TemplateDraft:
    data = content.encode()
    if len(data) > MAX_CONTENT_BYTES:
        most = f"{MAX_CONTENT_BYTES:,}"
        raise Invalid(_FILE, f"expected at most {most} bytes, got {len(data):,}")
    draft = read(data, _FILE)
    try:
        json.dumps(data_of(draft), ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise Invalid(_FILE, "there is half a character (a lone surrogate) in it") from None
    check_draft(draft)
    return draft
