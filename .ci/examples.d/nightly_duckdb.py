"""Run the example twice: the second run replaces the rows of the first."""

import subprocess

import duckdb
from harness import PAGES, a_yard

with a_yard() as yard:
    script = yard.copy("nightly_duckdb.sh", yard.serve_site())
    for _ in range(2):
        subprocess.run([f"./{script}", "--now"], check=True)
    assert [job.state for job in yard.jobs()] == ["completed"] * 2
    database = duckdb.connect("docs.duckdb")
    [(urls, rows)] = database.sql("SELECT count(DISTINCT url), count(*) FROM pages").fetchall()
    assert urls == rows >= PAGES, (urls, rows)
