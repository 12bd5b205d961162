"""Files of templates that others send or ask for: read and written beside the loop."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from crawlyard.core.templates.template import MAX_CONTENT_BYTES, FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.services.templates.files import data_of, read, written
from crawlyard.services.templates.manager import check_draft

_FILE = "file"


class TemplateIntake:
    """Reads and writes files, one at a time: YAML of a megabyte takes seconds of a core."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "crawlyard-templates")

    async def read(self, content: str) -> TemplateDraft:
        """Return the template that the text of a file holds, checked.

        Nothing that it names is fetched.

        Raises:
            Invalid: it is too large, no YAML or JSON, or something in it is not what is
                expected; the message says where.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, _read, content)

    async def written(self, draft: TemplateDraft, form: FileFormat) -> str:
        """Return the text of a file from which `read` makes the same template."""
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
