#!/usr/bin/env bash
# Archive a site as WARC, for replay in pywb or ReplayWeb.page.
#
# It needs `pip install 'crawlyard[warc]'`; a repeated command continues an interrupted archive.
set -euo pipefail

url=https://docs.example.org/ # change these
archive=site-$(date -u +%F).warc.gz

crawlyard crawl "$url" --keep html --max-pages 500 --unique-key "archive $url $(date -u +%F)" -q
crawlyard jobs export last --format warc --out "$archive" -q
crawlyard jobs show last --fields id,state,outcome -o plain
