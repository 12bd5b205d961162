// What a program does with Firecrawl's SDK for JavaScript.
import assert from "node:assert/strict";
import { Firecrawl } from "@mendable/firecrawl-js";

const { SERVER, SITE, TOKEN } = process.env;
const client = new Firecrawl({ apiKey: TOKEN, apiUrl: SERVER });
const fast = { delay: 0, maxConcurrency: 20 };
const urlOf = (document) => document.metadata.sourceURL;
const eachOnce = (documents, count) => {
  assert.equal(documents.length, count);
  assert.equal(new Set(documents.map(urlOf)).size, count);
};

const document = await client.scrape(`${SITE}/index.html`, { formats: ["markdown", "links"] });
assert.match(document.markdown, /Python/);
assert.ok(document.links.length > 0);
await assert.rejects(client.scrape(SITE, { mobile: true }), { status: 400, message: /mobile/ });
await assert.rejects(client.search("python"), { status: 400, message: /search/ });

const found = await client.map(SITE, { limit: 20 });
assert.ok(found.links.length > 1 && found.links.length <= 20);

const urls = ["about", "bugs", "license"].map((name) => `${SITE}/${name}.html`);
eachOnce((await client.batchScrape(urls, { pollInterval: 1, timeout: 60 })).data, urls.length);

const crawled = await client.crawl(SITE, { limit: 500, ...fast, pollInterval: 1, timeout: 120 });
assert.equal(crawled.status, "completed");
eachOnce(crawled.data, 500);
const page = await client.getCrawlStatus(crawled.id, { autoPaginate: false });
assert.equal(new URL(page.next).host, new URL(SERVER).host);
assert.deepEqual((await client.getCrawlErrors(crawled.id)).robotsBlocked, []);

const watched = await client.startCrawl(SITE, { limit: 40, ...fast });
const watcher = client.watcher(watched.id, { kind: "crawl", pollInterval: 1, timeout: 60 });
let documents = 0;
const ends = [];
watcher.on("document", () => documents++);
watcher.on("error", (event) => ends.push(event.error));
watcher.on("done", (event) => ends.push(event.status));
await watcher.start();
assert.ok(watcher.ws, "it has polled");
assert.deepEqual([documents, ends], [40, ["completed"]]);

const slow = await client.startCrawl(SITE, { limit: 500, delay: 5 });
assert.ok((await client.getActiveCrawls()).crawls.some((one) => one.id === slow.id));
assert.equal(await client.cancelCrawl(slow.id), true);

const target = { type: "scrape", urls: [`${SITE}/about.html`] };
const monitor = await client.createMonitor({ name: "about", schedule: { cron: "0 4 * * *" }, targets: [target] });
assert.equal((await client.getMonitor(monitor.id)).schedule.cron, "0 4 * * *");
assert.equal((await client.runMonitor(monitor.id)).trigger, "manual");
assert.equal((await client.listMonitorChecks(monitor.id)).length, 1);
assert.equal(await client.deleteMonitor(monitor.id), true);

assert.ok((await client.getConcurrency()).maxConcurrency > 0);
assert.ok((await client.getCreditUsage()).remainingCredits > 0);
assert.ok((await client.getQueueStatus()).jobsInQueue >= 0);
