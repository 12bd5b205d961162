#!/usr/bin/env bash
# Crawl documentation every night, and load its current pages into DuckDB.
#
# Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. Run this once a day, after the crawl, with `pip install crawlyard duckdb`;
# with the argument --now, the crawl starts at once.
set -euo pipefail

url=https://docs.example.org/ # change these four
schedule=docs
when='30 2 * * *'
database=docs.duckdb

crawlyard schedules show "$schedule" -q > /dev/null 2>&1 ||
  crawlyard schedules create "$schedule" "$url" --when "$when" --tz Europe/Berlin --max-pages 500 -q

if [[ "${1:-}" == --now ]]; then
  crawlyard jobs wait "$(crawlyard schedules run "$schedule" -q)" -q
fi

crawlyard jobs export --schedule "$schedule" --current --out "$schedule.parquet" -q

python3 - "$database" "$schedule.parquet" << 'PYTHON'
import sys

import duckdb

database = duckdb.connect(sys.argv[1])
database.execute("CREATE OR REPLACE TABLE pages AS SELECT * FROM read_parquet(?)", [sys.argv[2]])
print(database.sql("SELECT status, count(*) AS pages, sum(length(text)) AS characters FROM pages GROUP BY ALL"))
PYTHON
