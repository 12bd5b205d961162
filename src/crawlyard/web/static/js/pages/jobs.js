/** Jobs: a live list with a filter in the URL, and actions on one or many. */
import { $, $$, bind, complain, counted, dur, eta, fill, get, h, int, keys, load, on, query, segment, soon, stateWord, STOP, write } from "../core/all.js";
import { bar } from "../parts/bulk.js";
import { Peek } from "../parts/peek.js";
import { Table } from "../parts/table.js";
import { show, tables } from "../parts/declarative.js";
import { draw, merged } from "../parts/job.js";

const address = new URLSearchParams(location.search);
const { q = "", state = "", sort = "", limit = "" } = Object.fromEntries(address);
const group = address.get("group") ?? "state";
const { fields } = $("#jobs").dataset;
const params = { q, state, sort, group, limit, fields }; // as preloaded by the page
const form = $("#filter");
const whole = [q, state && `state:${state}`].filter(Boolean).join(" "); // old links have a separate state
const named = [...form.elements].filter((field) => field.name);
for (const field of named) field.value = field.name === "q" ? whole : params[field.name];
form.onsubmit = () => {
  for (const field of named) field.disabled = field === form.group ? field.value === "state" : !field.value;
};
form.limit.onchange = form.group.onchange = () => form.requestSubmit();
fill($(".none"), { filtered: whole });
for (const view of $$("#views a")) if (new URL(view.href).search === query({ q: whole })) view.ariaCurrent = "page";

// --- heads that sort

const descends = sort.startsWith("-");
const grouped = address.has("group") ? `&group=${group}` : "";
for (const head of $$("[data-sort]")) {
  const way = head.dataset.sort;
  const [key, now] = [way.replace("-", ""), sort.replace("-", "")];
  const here = now ? key === now : key === "created_at";
  const other = descends || !sort ? key : `-${key}`;
  head.href = `/jobs${query({ q: whole, sort: here ? other : way, limit })}${grouped}`;
  if (here) head.closest("th").ariaSort = descends || !sort ? "descending" : "ascending";
}

// --- the filter as chips: they write the text that can be typed

const TERM = /-?(?:\w+:)?(?:"(?:[^"\\]|\\.)*"|[^\s"])+/g;
const terms = whole.match(TERM) ?? [];

function asChip(term) {
  const [, not, key, value] = /^(-?)(?:(\w+):)?(.*)$/s.exec(term);
  const since = key === "created_after" && new Date(value);
  const label = since > 0 ? `Since ${since.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}` : [key, key === "state" ? value.split(",").map(stateWord).join(", ") : value === "me" ? "Me" : value].filter(Boolean).join(": ");
  const text = not ? `not ${label}` : label;
  const chip = h("button.chip", { type: "button", "aria-pressed": "true", "aria-label": `Remove the filter ${text}` }, text, " ×");
  chip.onclick = () => search(terms.filter((other) => other !== term));
  return chip;
}

function search(words) {
  form.q.value = words.join(" ");
  form.requestSubmit();
}

$("#chips").replaceChildren(...terms.map(asChip));
for (const menu of $$("[data-term]")) {
  const add = (value) => {
    const term = `${menu.dataset.term}:${/[\s,:"]/.test(value) ? JSON.stringify(value) : value}`;
    search([...terms.filter((other) => !other.startsWith("created_after:") || menu.dataset.term !== "created_after"), term]);
  };
  menu.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const { hours } = button.dataset;
    if (hours) search([...terms.filter((other) => !other.startsWith("created_after:")), `created_after:${new Date(Date.now() - hours * 36e5).toISOString().slice(0, 16)}Z`]);
    else add(button.value);
  });
  const field = $("input", menu);
  field?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (field.value.trim()) add(field.value.trim());
  });
  menu.ontoggle = () => menu.open && $("input, button", menu).focus();
}

const schedules = new Map();
async function nameSchedules() {
  for (const { id, name } of (await get("/schedules?limit=200")).items) schedules.set(id, name);
  $("#schedule-names").replaceChildren(...[...schedules.values()].map((name) => new Option("", name)));
}
$("[data-term=schedule]").addEventListener("toggle", () => schedules.size || nameSchedules().catch(complain));

const words = $$("#words option").map((option) => option.value);
form.q.oninput = () => {
  const [, before, begun] = /^(.*\s-?|-?)(\S*)$/.exec(form.q.value);
  const fit = words.filter((word) => word.startsWith(begun) && word !== begun);
  $("#words").replaceChildren(...fit.map((word) => new Option("", before + word)));
};

// --- the group that the filter names

const together = $("#group-of");
const [, groupId] = /(?:^|\s)group_id:([\w-]+)(?:\s|$)/.exec(whole) ?? [];
if (groupId) {
  together.dataset.of = `/groups/${segment(groupId)}`;
  const again = show(together, undefined, (all) => {
    const { jobs, states, pages, errors, left_s, ended, done, discovered } = all;
    const over = ["completed", "failed", "cancelled"].reduce((n, name) => n + (states[name] ?? 0), 0);
    const words = Object.entries(states).map(([name, n]) => `${int(n)} ${stateWord(name).toLowerCase()}`);
    together.hidden = false;
    draw($(".pb", together), { way: discovered ? done / discovered : 0, failed: errors, found: discovered, state: ended ? "completed" : "running" });
    return {
      ...all,
      lead: ended ? `All ${counted(jobs, "job")} of this group ended` : `${int(over)} of ${counted(jobs, "job")} of this group ended`,
      said: [...words, counted(pages, "page"), errors && counted(errors, "error"), left_s != null && `${eta(left_s, left_s)} left`].filter(Boolean).join(" · "),
    };
  });
  on("progress", soon(3000, () => again().catch(complain)));
}

// --- the list

const BY = { template: "Template", retry: "Retry" };
const RANKS = ["running", "waiting", "ended"];
const GROUPS = { running: { title: "Running", is: "running" }, waiting: { title: "Waiting", is: "pending" }, ended: { title: "Ended" } };
const rank = ({ state: is }) => (is === "running" ? 0 : is === "pending" || is === "paused" ? 1 : 2);
let sizes = {}; // of the groups by state

/** Text in place of the bar: the progress, and why it waits. */
function describe({ state: is, shown, found, done, pages, reason, why }) {
  if (is === "pending") return why || reason;
  const far = found && (pages || is !== "failed") ? `${int(done)} of ${counted(found, "URL")}` : "";
  if (shown === "running") return far || "Starting";
  if (shown === "completed") return pages ? counted(pages, "page") : "No pages";
  return [far, reason === "by a user" ? "" : reason].filter(Boolean).join(" · ");
}

/** How long it took, takes or has waited. */
function took({ state: is, queued_at, elapsed_s, due_in_s }) {
  if (is !== "pending") return elapsed_s ? dur(elapsed_s) : "–";
  return due_in_s > 0 ? "–" : `waits ${dur((Date.now() - Date.parse(queued_at)) / 1000).replace(/ \d\ds$/, "")}`;
}

function view(item) {
  const job = merged({}, item);
  const can = (verb) => job.allowed_actions?.includes(verb); // a partial row has none
  const over = job.state !== "pending" && can("retry");
  const may = { pause: can("pause"), cancel: can("cancel"), resume: can("resume") && job.state === "paused", retry: over && job.failed, again: over && !job.failed };
  const schedule = job.origin?.schedule_id;
  return Object.assign(job, {
    may,
    word: stateWord(job.shown),
    way: job.found ? Math.min(1, job.done / job.found) : job.state === "completed" ? 1 : 0,
    bar: job.state !== "pending" && job.found > 0 && (job.pages > 0 || job.state !== "failed"),
    said: describe(job),
    took: took(job),
    began: job.started_at ?? (job.due_in_s > 0 ? job.due_at : null),
    pace: job.state === "running" && job.rate,
    by: schedule ? (schedules.get(schedule) ?? "Schedule") : (BY[job.source] ?? job.owner),
    tagged: (job.tags ?? []).join(", "),
  });
}

function groupOf(item) {
  if (group === "state") {
    const key = RANKS[rank(item)];
    return { key, ...GROUPS[key], count: sizes[key] };
  }
  if (group === "host") return { key: item.host, title: item.host || "No host" };
  if (group === "owner") return { key: item.owner, title: item.owner };
  const id = item.origin?.schedule_id;
  return { key: id ?? "", title: id ? (schedules.get(id) ?? "A schedule") : "No schedule" };
}

const totals = bind($("[data-term=state]"));
let stopped = false; // there are more than were counted
const peek = new Peek($("#peek"), (tr, job) => dress(tr, job));

function dress(tr, job, row = {}) {
  if (!row.bar) sight.observe(tr);
  draw((row.bar ??= $(".pb", tr)), job);
  if (row.tagged !== job.tagged) {
    $("[data-c=tags]", tr)?.replaceChildren(...(job.tags ?? []).map((tag) => h("span.tag", {}, tag)));
    row.tagged = job.tagged;
  }
  if (peek.id === job.id) peek.show(job);
}

const table = new Table({
  root: $("#jobs"),
  row: "row",
  path: `/jobs${query(params)}`,
  view,
  dress,
  group: group ? (item) => groupOf(group === "host" ? { ...item, host: hostOf(item) } : item) : undefined,
  moved: (row) => peek.open && peek.show(row.seen),
  chose: (chosen, all) => bulk.chose(chosen, all),
  shown: count,
});
tables.push(table);
const bulk = bar(table, { q, state }, count);

const hostOf = (item) => merged({}, item).host || merged({}, item).title;

async function count() {
  const { total, states } = await get(`/jobs/counts${query({ q })}`);
  stopped = Boolean(q) && total === STOP; // without a filter, no count stops
  const totalOf = (n) => `${int(n)}${stopped ? "+" : ""}`;
  totals(Object.fromEntries(Object.entries(states).map(([name, n]) => [name, totalOf(n)])));
  const visible = state ? { [state]: states[state] } : states;
  const sum = (...names) => totalOf(names.reduce((all, name) => all + (visible[name] ?? 0), 0));
  sizes = { running: sum("running"), waiting: sum("pending", "paused"), ended: sum("completed", "failed", "cancelled") };
  table.head();
  await bulk.counted(state ? states[state] : total, stopped);
}

/** Load the list; an invalid filter shows its error below the character. */
async function read() {
  if (group === "schedule") await nameSchedules();
  const wrong = (problem) => problem.errors?.find(({ parameter }) => ["q", "sort", "group"].includes(parameter)) ?? complain(problem);
  const fault = await table.reload().catch(wrong);
  if (!fault) return;
  $("#fault pre").hidden = fault.parameter !== "q";
  write($("#fault pre"), `${" ".repeat(fault.position ?? 0)}^`);
  write($("#fault p"), fault.detail);
  $("#fault").hidden = false;
}

const news = (job) => {
  const row = table.rows.get(job.id);
  if (row) table.patch(job.id, merged(row.seen, job));
};

// Rows out of sight show their progress once they are seen, or every two seconds.
const late = new Map();
const catchUp = (ids) => {
  for (const id of ids) if (late.has(id)) news(late.get(id));
  for (const id of ids) late.delete(id);
};
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) target.away = !isIntersecting;
  catchUp(entries.filter(({ isIntersecting }) => isIntersecting).map(({ target }) => target.dataset.id));
}, { rootMargin: "100px" });
on("progress", (jobs) => {
  for (const job of jobs) table.rows.get(job.id)?.tr.away ? late.set(job.id, job) : news(job);
});
setInterval(() => catchUp([...late.keys()]), 2000);

on("job.state job.updated", ({ job }) => job && news(job));
on("job.deleted", ({ job_id }) => table.drop(job_id));
on("job.created job.state job.deleted", soon(1000, () => count().catch(complain)));

/** Refresh counts and waiting reasons; rows do not move. */
async function look() {
  if (!table.rows.size) return read();
  const { items } = await get(`/jobs${query({ ...params, fields: "id,version,state_reason,waits_for" })}`);
  const ids = [...table.rows.keys()];
  for (const item of items) {
    news(item);
    // what moves up because others have left is no news: it is older than all that there are
    if (sort || item.id > ids.reduce((a, b) => (a < b ? a : b)) || items.length < (limit || 50)) table.offer(item.id);
  }
  if (group === "state") table.regroup(rank);
}
on("job.created job.state", soon(1000, () => look().catch(complain)));
setInterval(() => document.hidden || table.refresh(), 30_000); // how long they wait

// --- peek, keys, columns, views

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.target.closest("dialog[open]")) peek.close();
  const free = !event.target.closest("button, summary, input, select, textarea, dialog[open]");
  if (event.key !== " " || !free || event.ctrlKey || event.metaKey || event.altKey || localStorage.cyKeys === "off") return;
  const row = table.current ?? table.go();
  if (!row) return;
  event.preventDefault();
  peek.toggle(row.seen);
});
$("#sheet").addEventListener("click", ({ target }) => {
  const button = target.closest("[data-look], [data-press]");
  if (!button) return;
  const id = button.closest("tr")?.dataset.id ?? peek.id;
  const row = table.rows.get(id);
  if (button.dataset.press) $(`[data-key=${button.dataset.press}]:not([hidden])`, row?.tr)?.click();
  else if (row && button.closest("tr")) {
    table.go(row);
    peek.toggle(row.seen);
  } else peek.close();
});
for (const key of "pcr") keys({ [key]: () => table.current && $(`[data-key=${key}]:not([hidden])`, table.current.tr)?.click() });

$("[name=query]", $("#ask-view").content).value = whole;

const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [sheet];
const boxes = $$("#columns input");
const away = localStorage.cyShown?.split(",");
if (away) for (const box of boxes) box.checked = away.includes(box.value);
($("#columns").onchange = () => {
  localStorage.cyShown = boxes.filter((box) => box.checked).map((box) => box.value);
  const hidden = boxes.filter((box) => !box.checked).map((box) => `[data-c=${box.value}]`);
  sheet.replaceSync(hidden.length ? `${hidden} { display: none }` : "");
})();

load(read);
