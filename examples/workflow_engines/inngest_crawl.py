"""Crawl from Inngest: a function starts the crawl, and waits for the webhook of its end.

Set CRAWLYARD_SERVER, CRAWLYARD_TOKEN, WEBHOOK_SECRET (`whsec_` and 24 to 64 random bytes
in base64) and the keys of Inngest. `uvicorn inngest_crawl:app` serves the function and receives the
webhook. The event `docs/crawl.requested` starts the function.
"""

import os
from datetime import timedelta

import inngest
import inngest.fast_api
from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

import crawlyard

URL = "https://docs.example.org/"  # change these
HOOK = "https://hooks.example.org/crawlyard"  # of this program
MAX_PAGES = 500
LONGEST = timedelta(hours=6)

client = inngest.Inngest(app_id="crawls")
app = FastAPI()


@client.create_function(
    fn_id="crawl-site", trigger=inngest.TriggerEvent(event="docs/crawl.requested"), retries=3
)
async def crawl_site(ctx: inngest.Context) -> int:
    """Crawl the site once for this run, and return the number of its pages."""

    async def start() -> str:
        webhook = {"url": HOOK, "secret": os.environ["WEBHOOK_SECRET"]}
        async with crawlyard.connect() as yard:
            job = await yard.jobs.create(
                URL,
                unique_key=f"inngest {ctx.run_id}",  # a retry gets the job of the first attempt
                max_pages=MAX_PAGES,
                tags=["inngest"],
                webhooks=[webhook],
            )
        return job.id

    async def count_pages() -> int:
        async with crawlyard.connect() as yard:
            job = await yard.jobs.get(job_id)  # the webhook may be late: the job decides
            if job.state != "completed":
                raise inngest.NonRetriableError(f"job {job_id}: {job.outcome or job.state}")
            return len([page async for page in yard.jobs.pages(job_id) if page.status == 200])

    job_id = await ctx.step.run("start", start)
    await ctx.step.wait_for_event(
        "wait",
        event="crawlyard/job.completed",
        if_exp=f"async.data.subject == '{job_id}'",
        timeout=LONGEST,
    )
    return await ctx.step.run("count-pages", count_pages)


@app.post("/crawlyard")
async def receive(request: Request) -> Response:
    """Verify a message of Crawlyard, and send it to Inngest; its id makes repetitions harmless."""
    try:
        webhook = Webhook(os.environ["WEBHOOK_SECRET"])
        message = webhook.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=400)
    name, identity = f"crawlyard/{message['type']}", request.headers["webhook-id"]
    await client.send(inngest.Event(name=name, data=message["data"], id=identity))
    return Response(status_code=204)


inngest.fast_api.serve(app, client, [crawl_site])
