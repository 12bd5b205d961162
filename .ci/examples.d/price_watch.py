"""Change one price of a shop: the receiver prints it, once."""

import os
import subprocess
import sys
from pathlib import Path

from harness import a_yard, free_port, run, until

PAGE = """<!doctype html><title>Lamp {n}</title><main><h1>Lamp {n}</h1>
<p>A lamp for the desk.</p><p class="price">{price}</p></main>"""

shop = Path("shop")
shop.mkdir()
(shop / "index.html").write_text(
    "<title>Shop</title><main>"
    + "".join(f'<a href="{n}.html">Lamp {n}</a>' for n in range(5))
    + "</main>"
)
for n in range(5):
    (shop / f"{n}.html").write_text(PAGE.format(n=n, price="20.00"))

with a_yard() as yard:
    site = yard.serve_site("--folder", str(shop))
    script = yard.copy("price_watch.py", site, PORT=str(free_port()))
    os.environ["WEBHOOK_SECRET"] = subprocess.run(
        [sys.executable, script, "create"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    yard.start(str(script), "receive", log="received.log")
    for price in ("20.00", "25.00"):
        (shop / "3.html").write_text(PAGE.format(n=3, price=price))
        run("jobs", "wait", run("schedules", "run", "prices", "-q").strip(), "-q")
    until(lambda: "25.00" in Path("received.log").read_text(), "no message", 60)
    reports = [line for line in Path("received.log").read_text().splitlines() if "->" in line]
    print(*reports, sep="\n")
    [report] = reports
    assert "3.html" in report, report
