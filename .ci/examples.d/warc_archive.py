"""Run the example twice: the archive is complete, and the site is crawled once."""

import subprocess
from pathlib import Path

from harness import PAGES, a_yard
from warcio.archiveiterator import ArchiveIterator

with a_yard() as yard:
    script = yard.copy("warc_archive.sh", yard.serve_site())
    for _ in range(2):
        subprocess.run([f"./{script}"], check=True)
    assert len(yard.jobs()) == 1
    [archive] = Path().glob("site-*.warc.gz")
    with archive.open("rb") as file:
        types = [record.rec_type for record in ArchiveIterator(file)]
    assert types.count("response") >= PAGES, types
