"""Watch the prices of a shop: a schedule crawls it, a webhook reports each page that changed.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. `price_watch.py create` creates the schedule and the
webhook, and prints the secret of the webhook. `price_watch.py receive` prints each changed price;
it needs the secret in WEBHOOK_SECRET.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from crawlyard import sync

URL = "https://shop.example.org/"  # change these
PRICE = ".price"  # selector of the price
WHEN = "0 * * * *"  # hourly
PORT = 9000
HOOK = f"http://127.0.0.1:{PORT}/"  # as the workers reach this program
ADDRESSES = (f"127.0.0.1:{PORT}",)  # private addresses that the webhook may use


def create() -> None:
    """Create the schedule and the webhook, and print the secret."""
    with sync.connect() as yard:
        yard.schedules.create("prices", WHEN, URL, max_pages=500, extract={"price": PRICE})
        webhook = yard.webhooks.create(
            HOOK, events=["page.changed"], schedule="prices", allow_addresses=ADDRESSES
        )
        print(webhook.secret)


def report(event: dict[str, Any]) -> None:
    """Print the prices of the pages that a message names, before and after."""
    before, after = event["details"]["base_id"], event["job_id"]
    with sync.connect() as yard:
        prices = {
            job: {page.url: " ".join(page.extracted["price"]) for page in yard.jobs.pages(job)}
            for job in (before, after)
        }
    for page in event["details"]["pages"]:
        old, new = (prices[job].get(page["url"]) for job in (before, after))
        if old != new:
            print(page["url"], old, "->", new, flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Receiver of the webhook's messages."""

    def do_POST(self) -> None:
        """Verify a message and report it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            webhook = Webhook(os.environ["WEBHOOK_SECRET"])
            message = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_error(400)
            return
        report(message["data"])
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    if sys.argv[1:] == ["create"]:
        create()
    else:
        HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
