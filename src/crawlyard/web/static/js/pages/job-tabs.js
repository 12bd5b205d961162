/** The tabs of a job: lists that the HTML tells of, and what else each shows. */
import { $, $$, complain, copy, fill, get, h, int, query, rate, segment, time } from "../core/all.js";
import { read, submits } from "../core/form.js";
import { lines } from "../parts/charts.js";
import { Table } from "../parts/table.js";
import { list, thing as job } from "../parts/told.js";
import { linkReport } from "./job-links.js";
import { siteMap } from "./job-map.js";

export const path = `/jobs/${segment(document.body.dataset.job)}`;
const lists = new Map();

function told(value) {
  if (Array.isArray(value)) return value.map(told).join("\n");
  return value && typeof value === "object" ? JSON.stringify(value) : value;
}

/** A row of any list, as it is shown. */
function view(item) {
  const { state, reason, detail, version, name, schedule_id, changed, ...rest } = item.data ?? {};
  const more = Object.entries({ ...changed, ...rest }).map(([what, value]) => `${what}: ${told(value)}`);
  return {
    ...item,
    ended_at: job.ended_at,
    name: item.name ?? (item.title || item.url),
    list: item.samples?.join("\n"),
    is: item.error ? "failed" : "completed",
    said: item.status ?? item.error?.kind,
    more: [detail, ...more].filter(Boolean).join("; "),
  };
}

let next; // the event in the row above: the one that came next
function dress(tr, { data }) {
  const viewer = $("a[data-view]", tr);
  if (viewer) viewer.href = viewer.getAttribute("href").split("?")[0] + location.search; // its list
  if (!data) return;
  if (next && next.state !== data.state) $(".from", next.tr).textContent = `${data.state} →`;
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

function course(id, name, points, of, say) {
  const values = points.map(of);
  const said = `${name}: ${say(values.at(-1))} now, ${say(Math.max(0, ...values))} at most`;
  lines($(id), { said, x: points.map((point) => point.at), series: [{ name, is: "running", values, area: true }], height: 120 });
}

async function overview() {
  const [{ points }, { items }] = await Promise.all([`${path}/metrics`, `/events?job=${job.id}&limit=200`].map(get));
  course("#rates", "Pages per second", points, (p) => p.pages / (p.seconds || 1), rate);
  course("#waiting", "In the queue", points, (p) => p.waiting, int);
  const sums = {};
  for (const { statuses } of points) for (const word in statuses) sums[word] = (sums[word] ?? 0) + statuses[word];
  $("#statuses").replaceChildren(...Object.keys(sums).sort().map((word) =>
    h("a.tag", { href: `${path}/pages?status=${word}` }, `${word} ${int(sums[word])}`)));

  let end = job.ended_at ? NaN : Date.now();
  const moves = items.filter(({ name }) => !/progressed|noted/.test(name)); // a worker may say so late
  const steps = moves.filter(({ data }, n) => data.state !== moves[n + 1]?.data.state).map((event) => {
    const took = (end - Date.parse(event.at)) / 1000;
    end = Date.parse(event.at);
    return drawn("step", { ...event, took });
  });
  $("#timeline").replaceChildren(...steps.reverse());
}

const why = $("#why");
submits(why, async () => $("#fate").replaceChildren(drawn("fated", await get(`${path}/why${query(read(why))}`))));

// --- log

const [box, tail, level, grep] = ["#log", "#tail", "#level", "#grep"].map((id) => $(id));
const fits = (el) => { el.hidden = !el.textContent.includes(grep.value); };
let source, wanted;
let last = 0;

/** Follow the log, while it is *wanted* and seen. */
export function listen(on = wanted) {
  wanted = on;
  source?.close();
  if (!on || document.hidden) return;
  source = new EventSource(`/api/v1${path}/log/stream?level=${level.value}&after=${last}`);
  source.addEventListener("job.log", heard);
  source.addEventListener("end", () => source.close());
}
document.onvisibilitychange = () => listen();

function heard({ data }) {
  for (const { n, at, level: is, message, url } of JSON.parse(data).lines) {
    const el = h("div", { data: { is } }, `${time(at)} ${is.padEnd(7)} ${message} ${url}\n`);
    fits(el);
    box.append(el);
    last = n;
  }
  while (box.childElementCount > 2000) box.firstChild.remove();
  tail.replaceChildren(...[...box.children].slice(-12).map((el) => el.cloneNode(true)));
  if ($("#follow").checked) box.scrollTop = box.scrollHeight;
}

level.onchange = () => {
  last = 0;
  box.replaceChildren();
  listen();
};
grep.oninput = () => [...box.children].forEach(fits);
$("#download").onclick = ({ currentTarget: link }) => { link.href = URL.createObjectURL(new Blob([box.textContent])); };

// --- config

const settings = new Table({ root: $("#config"), row: "setting" });
async function config() {
  const { config: all, sources, differences } = await get(`${path}/config`);
  const was = Object.fromEntries(differences.map((one) => [one.path, told(one.template)]));
  settings.items(Object.entries(sources).map(([id, source]) =>
    ({ id, source, template: was[id], value: told(id.split(".").reduce((form, name) => form[name], all)) })));
}

/** What it says itself, as POST /jobs takes it. */
export async function spec() {
  const { config: all, sources } = await get(`${path}/config`);
  const own = Object.keys(sources).filter((at) => sources[at] !== "default").map((at) => at.split(".")[0]);
  for (const name in all) if (!own.includes(name)) delete all[name];
  return all;
}

const MORE = { overview, config, map: () => siteMap(path, job), links: () => linkReport(path, job) };
