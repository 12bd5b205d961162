/** Overview: running crawls, attention, past and planned runs; the first crawl on an empty server. */
import { $, $$, act, at, bind, bytes, complain, counted, dur, few, get, int, live, load, on, post, query, soon, stateWord, user } from "../core/all.js";
import { read, submits } from "../core/form.js";
import { attention } from "../parts/attention.js";
import { axis, bars, lines } from "../parts/charts.js";
import { draw } from "../parts/job.js";
import { keyed } from "../parts/keyed.js";
import { reasons, running } from "../parts/running.js";

const HOUR = 36e5;
const HALF = 12 * HOUR; // of the axis of runs: as long ago as ahead
const MOST_LANES = 10;
const MOST_NEEDS = 8; // notices that are shown at first
const SIDE = 6; // workers and hosts listed in the side column

const view = { jobs: {}, counts: null };
let ready = false;
const paint = bind($("#main"));

/** Merge *news* into the view, and update what depends on it. */
function tell(news) {
  Object.assign(view, news);
  const { jobs, slots, slots_used: used, disk_free_bytes: free, disk_total_bytes: total, listed = 0, items = null } = view;
  if (jobs.running === undefined) return;
  const busy = Object.values(jobs).some(Boolean);
  ready ||= listed > 0 || !jobs.running; // before its first rows are there, all below them would jump
  const waiting = jobs.pending ? `, ${int(jobs.pending)} waiting` : "";
  paint(Object.assign(view, {
    busy: busy && ready,
    empty: !busy,
    idle: !view.workers,
    headline: (jobs.running ? `${counted(jobs.running, "crawl")} running` : "Nothing is running") + waiting,
    more: Math.max(0, jobs.running - listed),
    full: slots > 0 && used >= slots,
    disk_used: total && total - free,
    clear: items && !items.length,
  }));
  const meters = { slots: [used, slots], flying: [view.flying, view.allowed], disk: [view.disk_used, total] };
  for (const [name, [n, of]] of Object.entries(meters)) draw($(`#m-${name}`), { way: of ? Math.min(1, n / of) : 0, state: "running" });
}

running($("#running"), (listed, pace) => tell({ listed, ...(pace && { pages_per_s: pace }) }));

// --- status: figures, workers, hosts

const pair = (id) => keyed($(id), "pair", ({ name }) => name);
const [workers, hosts, failing] = ["#workers", "#hosts", "#failing"].map(pair);
const chosen = () => $(".seg [aria-pressed=true]");

const STATES = { idle: "idle", running: "", quiet: "draining", stopping: "stopping" };
function crew(all) {
  const alive = all.filter((worker) => worker.alive);
  const several = (host) => alive.filter((worker) => worker.host === host).length > 1;
  workers(alive.slice(0, SIDE).map(({ host, pid, state, running: busy, slots }) => ({
    name: several(host) ? `${host}, process ${pid}` : host,
    said: [`${busy.length} of ${counted(slots, "slot")}`, STATES[state]].filter(Boolean).join(", "),
    is: state === "quiet" ? "quiet" : "",
  })));
}

function pace({ state, held_until: until, delay_s: delay }) {
  const holdMs = until && Date.parse(until) - Date.now();
  if (state !== "open") return { said: state, is: state };
  if (holdMs > 0) return { said: `backs off for ${dur(holdMs / 1000)}`, is: "late" };
  return delay >= 0.5 ? { said: `${delay} s between requests`, is: "" } : null;
}

async function figures() {
  const { value, dataset, textContent: period } = chosen();
  const ms = dataset.step * 1000;
  const since = new Date(Math.ceil((Date.now() - value * 1000) / ms) * ms).toISOString();
  const range = query({ since, step_s: dataset.step });
  const [stats, course, hostList] = await Promise.all([`/stats${range}`, `/stats/pace${range}`, "/hosts?limit=200"].map(get));
  const slow = hostList.items.map((host) => ({ name: host.host, ...pace(host), slow: pace(host) })).filter((host) => host.slow);
  hosts(slow.slice(0, SIDE));
  failing(stats.failing_hosts.slice(0, SIDE).map(({ host, errors }) => ({ name: host, said: `${int(errors)} failed`, is: "" })));
  const sum = (name) => hostList.items.reduce((total, host) => total + host[name], 0);
  tell({ ...stats.cards, period, held: slow.length, failing: stats.failing_hosts.length, flying: sum("in_flight"), allowed: sum("at_once") });
  trends(stats, course, ms);
  if (view.empty) {
    const lists = await Promise.all(["/notifications?limit=1", "/webhooks?limit=1"].map(get));
    tell({ silent: lists.every(({ items }) => !items.length) });
  }
}

const PER = { 1: "hour", 6: "6 hours", 24: "day" };
function trends({ cards, days, finished, until }, { steps, whole }, step) {
  // what a limit or a user has stopped is called neither completed nor cancelled
  const ends = finished.map(({ ended, stopped, stopped_by_user: by_user }) => ({
    ...ended,
    completed: ended.completed - stopped,
    cancelled: ended.cancelled - by_user,
    stopped: stopped + by_user,
  }));
  const outcomes = ["completed", "stopped", "cancelled", "failed"].map((is) => [is, stateWord(is)]);
  const summary = outcomes.map(([is, name]) => `${int(ends.reduce((sum, point) => sum + point[is], 0))} ${name.toLowerCase()}`).join(", ");
  tell({
    ended_said: counted(Object.values(cards.ended).reduce((a, b) => a + b, 0), "job"),
    pages_title: `Pages per ${whole ? PER[step / HOUR] : "day"}`,
    // usage counts the user's own jobs, the steps all that they see
    pages_said: whole && user.role !== "admin" ? few(steps.reduce((sum, { pages }) => sum + pages, 0)) : `${few(cards.pages)}, ${bytes(cards.bytes)}`,
    latency_said: answered(steps, whole),
  });
  bars($("#ended"), {
    said: `Jobs ended: ${summary}`,
    x: finished.map((point) => point.at),
    step,
    to: until,
    series: outcomes.map(([is, name]) => ({ is, name, values: ends.map((point) => point[is]) })).filter(({ is, values }) => ["completed", "failed"].includes(is) || values.some(Boolean)),
  });
  // of very many jobs, only the days are known to the last page
  const pages = whole ? { x: steps.map((point) => point.at), step, to: until, values: steps } : { x: days.map(({ day }) => day), step: 24 * HOUR, values: days };
  bars($("#pages"), { ...pages, said: `${view.pages_title}: ${view.pages_said}`, series: [{ is: "running", name: "Pages", values: pages.values.map((value) => value.pages) }] });
  const waited = steps.map((point) => point.latency_ms);
  const said_of = `Response time: ${view.latency_said}`;
  lines($("#latency"), { said: said_of, x: steps.map((point) => point.at), step, to: until, say: (n) => `${int(n)} ms`, series: [{ is: "running", name: "Mean", values: waited }] });
}

/** Average response time of sites. */
function answered(steps, whole) {
  const [pages, ms] = steps.reduce(([n, sum], step) => [n + step.pages, sum + step.pages * (step.latency_ms ?? 0)], [0, 0]);
  return pages ? `${int(ms / pages)} ms on average${whole ? "" : ", of the latest jobs"}` : "no responses";
}
for (const button of $$(".seg button"))
  button.onclick = () => {
    for (const other of $$(".seg button")) other.ariaPressed = String(other === button);
    figures().catch(complain);
  };

async function queue() {
  if (!view.jobs.pending) return;
  const queued = await get("/jobs/queue?limit=50");
  const oldest = view.oldest_wait_s ? `for up to ${dur(view.oldest_wait_s)}: ` : "";
  tell({ waits: oldest + reasons(queued) });
}

// --- attention

const needs = attention($("#attention"), () => look().catch(complain));
let folded = true;
async function look() {
  const { items, counts, dismissed } = await get("/attention");
  const listed = folded ? items.slice(0, MOST_NEEDS) : items;
  const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
  needs(listed);
  tell({ items, dismissed, needs: all, unlisted: all - listed.length, folded: listed.length < items.length });
}
$("#unfold").onclick = async () => {
  folded = false;
  await look().catch(complain);
  $(`#attention li:nth-child(${MOST_NEEDS + 1}) a`)?.focus();
};
$("#restore").onclick = () => post("/attention/restore").then(look).catch(complain);

// --- past and planned runs

const LOOKS = { failed: "hatched" };
const KEY = [...["completed", "stopped", "failed", "cancelled", "running"].map((is) => [is, stateWord(is), LOOKS[is]]), ["", "Planned", "planned"]];
const median = (all) => all.sort((a, b) => a - b)[all.length >> 1] ?? 0;

async function runs() {
  const now = Date.now();
  const [from, to] = [now - HALF, now + HALF].map((ms) => new Date(ms).toISOString());
  const [past, plan] = await Promise.all([get(`/stats/runs${query({ since: from })}`), get(`/schedules/calendar${query({ to })}`)]);
  const lanes = new Map();
  const lane = (id, name) => lanes.get(id) ?? lanes.set(id, { id, name, past: [], next: [] }).get(id);
  for (const occurrence of plan.occurrences) if (occurrence.enabled) lane(occurrence.schedule_id, occurrence.schedule_name).next.push({ from: occurrence.due_at });
  for (const { job_id, schedule_id, name, state, stopped, pages, started_at, ended_at } of past.items) {
    const is = stopped ? "stopped" : state;
    const prefix = schedule_id ? "" : `${name || "Job"}: `;
    const label = `${prefix}${stateWord(is)}, ${counted(pages, "page")}`;
    lane(schedule_id, schedule_id ? name : "Runs by hand").past.push({ from: started_at, to: ended_at ?? now, is, what: label, href: `/jobs/${job_id}` });
  }
  const every = [...lanes.values()].sort((a, b) => !a.id - !b.id || soonest(a, now) - soonest(b, now));
  const all = every.length > MOST_LANES ? [...every.slice(0, MOST_LANES - 1), ...every.slice(-1)] : every;
  for (const { past: ran, next, id } of all) {
    const length = median(ran.filter(({ is }) => is === "completed").map((run) => Date.parse(run.to) - Date.parse(run.from)));
    for (const run of next) Object.assign(run, { to: Date.parse(run.from) + length, what: "Planned", href: `/schedules/${id}` });
  }
  tell({ lanes_left: every.length - all.length });
  const used = new Set(all.flatMap(({ past: ran }) => ran.map(({ is }) => is)));
  axis($("#axis"), {
    said: `Runs of ${counted(all.length, "schedule", "schedules")} from ${at(from)} to ${at(to)}`,
    from, to, now, lanes: all, key: KEY.filter(([is]) => !is || used.has(is)),
  });
}
/** Distance of the nearest run. */
const soonest = ({ past, next }, now) => Math.min(...[...past, ...next].map((run) => Math.abs(Date.parse(run.from) - now)));

// --- updates

/** Load, then reload on *events* (at most every two seconds) and every *ms*. */
function keep(work, events, ms) {
  const again = () => work().catch(complain);
  load(work);
  on(events, soon(2000, again));
  setInterval(() => document.hidden || again(), ms);
}
on("counts", (jobs) => tell({ jobs: { ...view.jobs, ...jobs } }));
let seen = false;
on("workers", ({ workers: all }) => {
  crew(all);
  if (seen) live.dispatchEvent(new CustomEvent("workers.changed"));
  seen = true; // the first message is no news to what was just loaded
});
const JOBS = "job.created job.state job.deleted";
keep(() => figures().then(queue), `${JOBS} workers.changed`, 15e3);
keep(look, `${JOBS} workers.changed schedule.* webhook.*`, 60e3);
keep(runs, "schedule.* job.state", 60e3);

// a site of the server's own: this one job may ask it, and no other address inside
$("#sample")?.addEventListener("click", ({ currentTarget: button }) => act(button, async () => {
  const site = { urls: [`http://${button.value}/`], allow_addresses: [button.value], grant: true };
  const { id } = await post("/jobs", { name: "Sample site", ...site, delay_s: 0.25, per_host: 4 });
  location.assign(`/jobs/${id}`);
}));

const form = $("#start");
const scheme = /^[a-z][a-z\d+.-]*:/i;
submits(form, async () => {
  const { urls, ...more } = read(form);
  const job = await post("/jobs", { ...more, urls: urls.map((url) => (scheme.test(url) && !/^[^/]+:\d/.test(url) ? url : `https://${url}`)) });
  location.assign(`/jobs/${job.id}`);
});
