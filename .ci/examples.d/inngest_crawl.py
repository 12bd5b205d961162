"""Run the function with the simulator of Inngest's SDK; its event is the one that was received.

Inngest's server is not a package of a registry. This takes its place for events alone: it listens
where the SDK sends them.
"""

import json
import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import an_unreliable_yard, free_port

events: queue.Queue[dict] = queue.Queue()


class EventApi(BaseHTTPRequestHandler):
    """Receiver of events, as the event API of Inngest."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for event in body if isinstance(body, list) else [body]:
            events.put(event)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"ids": ["1"], "status": 200}')


class Received(dict):
    """Step stubs: waiting for an event blocks until it was received."""

    def __getitem__(self, _step: str) -> object:
        return inngest.Event.model_validate(events.get(timeout=90))


api = ThreadingHTTPServer(("127.0.0.1", 0), EventApi)
threading.Thread(target=api.serve_forever, daemon=True).start()
os.environ |= {
    "INNGEST_DEV": f"http://127.0.0.1:{api.server_port}",
    "INNGEST_EVENT_KEY": "local",
}

import inngest
from inngest.experimental import mocked

with an_unreliable_yard() as (yard, _):
    port = free_port()
    yard.copy(
        "workflow_engines/inngest_crawl.py",
        yard.serve_site(),
        HOOK=f'"http://127.0.0.1:{port}/crawlyard"',
    )
    yard.start("-m", "uvicorn", "inngest_crawl:app", "--port", str(port), log="hook.log")
    import inngest_crawl as example

    result = mocked.trigger(
        example.crawl_site,
        inngest.Event(name="docs/crawl.requested"),
        mocked.Inngest(app_id="crawls"),
        step_stubs=Received(wait=None),
    )
    assert result.status is mocked.Status.COMPLETED, result
    assert result.output >= 20, result
