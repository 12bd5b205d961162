"""Run the example twice: the index has each chunk once, and answers a question."""

import subprocess
import sys

from harness import a_yard

with a_yard() as yard:
    script = yard.copy("rag_feed.py", yard.serve_site())
    first, again = (
        subprocess.run(
            [sys.executable, script, "tide table"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        for _ in range(2)
    )
    assert first == again, (first, again)
    chunks, *matches = first.splitlines()
    assert int(chunks.split()[0]) > 20, chunks
    print(first)
    assert "tide-table" in matches[0], first
