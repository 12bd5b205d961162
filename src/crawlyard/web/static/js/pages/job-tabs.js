/** The tabs of a job: lists that the HTML tells of, and what else each shows. */
import { $, $$, complain, copy, detailed, errorWord, fill, get, h, may, query, segment, stateWord, time } from "../core/all.js";
import { read, submits } from "../core/form.js";
import { keyed } from "../parts/keyed.js";
import { Table } from "../parts/table.js";
import { list, thing as job } from "../parts/declarative.js";
import { charts } from "./job-charts.js";
import { linkReport } from "./job-links.js";
import { siteMap } from "./job-map.js";
import { problems } from "./job-problems.js";
import { ends } from "./job-words.js";

export const path = `/jobs/${segment(document.body.dataset.job)}`;
const lists = new Map();

function describe(value) {
  if (Array.isArray(value)) return value.map(describe).join("\n");
  return value && typeof value === "object" ? JSON.stringify(value) : value;
}

const causeOf = ({ reason } = {}) => reason !== "crawling" && reason; // its state says that it crawls

/** A row of any list, as it is shown. */
function view(item) {
  const { state, reason, detail, version, name, schedule_id, changed, ...rest } = item.data ?? {};
  const more = Object.entries({ ...changed, ...rest }).map(([name, value]) => detailed(name, value));
  return {
    ...item,
    ended_at: job.ended_at,
    why: causeOf(item.data),
    name: item.name ?? (item.title || item.url),
    list: item.samples?.join("\n"),
    metadata: Object.keys(item.metadata ?? {}).length ? describe(item.metadata) : "", // of a webhook
    is: item.error ? "failed" : "completed",
    said: item.status ?? (item.error && errorWord(item.error.kind)),
    more: [detail, ...more].filter(Boolean).join(" · "),
  };
}

let next; // the event in the row above: the one that came next
function dress(tr, { data }) {
  const viewer = $("a[data-view]", tr);
  if (viewer) viewer.href = viewer.getAttribute("href").split("?")[0] + location.search; // its list
  if (!data) return;
  if (next && next.state !== data.state) $(".from", next.tr).textContent = `${stateWord(data.state)} →`;
  next = { tr, state: data.state };
}

/** Show a tab, or what is new in it. */
export function open(tab) {
  for (const el of $$(`section[data-tab=${tab}] [data-list]`)) {
    if (lists.has(el)) lists.get(el).reload().catch(complain);
    else lists.set(el, list(el, { view, dress }));
  }
  return MORE[tab]?.();
}

function drawn(name, item) {
  const el = copy(name);
  fill(el, item);
  return el;
}

// --- overview

const statuses = keyed($("#statuses"), "status-tag", ({ word }) => word);

async function overview() {
  const urls = [`${path}/metrics`, `/events?job=${job.id}&limit=200`];
  const [course, { items }] = await Promise.all([...urls.map(get), failures()]);
  job.latency_ms = charts(course, items, job);
  const sums = {};
  for (const { statuses } of course.points) for (const word in statuses) sums[word] = (sums[word] ?? 0) + statuses[word];
  statuses(Object.keys(sums).sort().map((word) => ({ word, n: sums[word] })));

  const ended = (event) => job.ended_at && event === moves[0];
  let end = job.ended_at ? NaN : Date.now();
  const moves = items.filter(({ name }) => !/progressed|noted/.test(name)); // a worker may say so late
  const steps = moves.filter(({ data }, n) => data.state !== moves[n + 1]?.data.state).map((event) => {
    const took = (end - Date.parse(event.at)) / 1000;
    end = Date.parse(event.at);
    const state = ended(event) && job.shown === "stopped" ? "stopped" : event.data.state;
    return drawn("step", { ...event, took, why: causeOf(event.data), data: { ...event.data, state }, word: stateWord(state) });
  });
  $("#timeline").replaceChildren(...steps.reverse(), ...(job.ended_at ? [] : [h("li.mut", {}, ends(job))]));
}

// --- problems

let linked = {}; // pages with links to URLs that failed, by these
let samples;

async function failures() {
  const [{ items }, renders] = await Promise.all([get(`${path}/errors?by_status=true`), rendering()]);
  job.renders = renders;
  problems(items, linked);
  return items;
}

/** Return whether a worker can run the scripts that pages need; true if the user may not know. */
async function rendering() {
  if (!job.usage?.needs_scripts || !may("workers:read")) return true;
  const { items } = await get("/workers");
  return items.some(({ alive, browsers }) => alive && browsers.length);
}

/** The same with the pages that link there: to find those, all links are read, so once for the same URLs. */
async function causes() {
  const now = JSON.stringify((await failures()).map((item) => item.samples));
  if (now === samples) return;
  samples = now;
  const { items } = await get(`${path}/errors?by_status=true&referrers=true`);
  linked = Object.assign({}, ...items.map(({ referrers }) => referrers));
  problems(items, linked);
}

const why = $("#why");
submits(why, async () => $("#fate").replaceChildren(drawn("fated", await get(`${path}/why${query(read(why))}`))));

// --- log

const [box, level, grep] = ["#log", "#level", "#grep"].map((id) => $(id));
const fits = (el) => { el.hidden = !el.textContent.includes(grep.value); };
let source;
let last = 0;

/** Follow the log, while it is *wanted* and seen. */
export function listen(following) {
  source?.close();
  if (!following || document.hidden) return;
  source = new EventSource(`/api/v1${path}/log/stream?level=${level.value}&after=${last}`);
  source.addEventListener("job.log", receive);
  source.addEventListener("end", () => source.close());
}

function receive({ data }) {
  for (const { n, at, level: is, message, url } of JSON.parse(data).lines) {
    const el = h("div", { data: { is } }, `${time(at)} ${is.padEnd(7)} ${message} ${url}\n`);
    fits(el);
    box.append(el);
    last = n;
  }
  while (box.childElementCount > 2000) box.firstChild.remove();
  if ($("#follow").checked) box.scrollTop = box.scrollHeight;
}

level.onchange = () => {
  last = 0;
  box.replaceChildren();
  listen(true);
};
grep.oninput = () => [...box.children].forEach(fits);
$("#download").onclick = ({ currentTarget: link }) => { link.href = URL.createObjectURL(new Blob([box.textContent])); };

// --- settings

const table = new Table({ root: $("#config"), row: "setting" });
async function settings() {
  const { config: all, sources, differences } = await get(`${path}/config`);
  const was = Object.fromEntries(differences.map((difference) => [difference.path, describe(difference.template)]));
  table.items(Object.entries(sources).map(([id, source]) =>
    ({ id, source, template: was[id], value: describe(id.split(".").reduce((form, name) => form[name], all)) })));
}

/** What it says itself, as POST /jobs takes it. */
export async function spec() {
  const { config: all, sources } = await get(`${path}/config`);
  const own = Object.keys(sources).filter((at) => sources[at] !== "default").map((at) => at.split(".")[0]);
  for (const name in all) if (!own.includes(name)) delete all[name];
  return all;
}

const MORE = { overview, problems: causes, settings, map: () => siteMap(path, job), links: () => linkReport(path, job) };
