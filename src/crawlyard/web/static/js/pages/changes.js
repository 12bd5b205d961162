/** Changes between two runs: counts by kind, pages, and text diffs. */
import { $, $$, at, complain, copy, counted, get, h, host, icon, int, keys, load, lock, pct, query, segment, write } from "../core/all.js";
import { diff } from "../parts/diff.js";
import { KINDS, MOST, runView, trend } from "../parts/schedules.js";

const { job: id } = document.body.dataset;
const address = new URLSearchParams(location.search);
const ALWAYS = new Set(["changed", "new", "moved", "gone", "broken", "same"]);
const MOST_RANKED = 2000; // changed pages that the server sorts by how much of their text differs
const LONGEST = 400; // lines of a page that only one run has
let job;
let base; // the id of the earlier run
let kind; // that is listed
let sort = "url"; // by which it is
let cursor;
let changes = []; // changes of that kind, as far as they are listed
let page; // the one that is shown
let requests = 0;
let trends = () => {}; // shown when all above it is

const between = () => `/jobs/${segment(base)}/diff/${segment(id)}`;
const remember = () => history.replaceState(null, "", `${location.pathname}${query({ with: base, kind, page: page?.url })}`);
const path = (url) => url.replace(/^https?:[/][/][^/]+/, "") || "/";

// --- which runs

/** The runs that this one can be compared with, the latest first: those of its schedule, or of its host. */
async function runs() {
  const { schedule_id: schedule } = job.origin;
  if (schedule) {
    const { items } = await get(`/schedules/${segment(schedule)}/runs?expand=job&limit=${MOST}`).catch(() => ({ items: [] }));
    const runs = items.map(runView).filter((run) => run.job);
    trends = () => {
      $("#trend").hidden = !runs.some(({ changed }) => changed);
      if (!$("#trend").hidden) trend({ changes: $("#changes"), pages: $("#pages"), took: $("#took") }, runs);
    };
    if (runs.length > 1) return runs.map((run) => ({ id: run.job_id, when: run.due_at, said: run.said, base: run.job.base_id, whole: run.job.state === "completed" }));
  }
  const [url] = [...job.spec.urls, ...job.spec.sitemaps];
  const { items } = await get(`/jobs${query({ host: host(url), limit: MOST })}`);
  return items.map((job) => ({ id: job.id, when: job.created_at, said: job.outcome || job.state, whole: job.state === "completed" }));
}

/** Default base run among *all*: the one of the stored comparison, otherwise the previous one. */
function before(all) {
  const mine = all.findIndex((run) => run.id === id);
  const rest = all.slice(mine + 1);
  return all[mine]?.base ?? (rest.find((run) => run.whole) ?? rest[0] ?? all.find((run) => run.id !== id))?.id;
}

const option = (run) => h("option", { value: run.id }, `${at(run.when)} · ${run.said.split(":")[0]}`);
function choices(all) {
  const withRun = (runId) => (all.some((run) => run.id === runId) ? all : [...all, { id: runId, when: null, said: runId }]);
  $("#later").replaceChildren(...withRun(id).map(option));
  $("#later").value = id;
  $("#earlier").replaceChildren(...withRun(base).filter((run) => run.id !== id).map(option));
  $("#earlier").value = base;
}
$("#later").onchange = ({ target }) => location.assign(`/jobs/${segment(target.value)}/changes`);
$("#earlier").onchange = ({ target }) => location.assign(`${location.pathname}${query({ with: target.value })}`);

// --- changes

function lead(counts, all) {
  const parts = [["changed", "changed"], ["new", "new"], ["gone", "gone"], ["moved", "moved"], ["broken", "broken"]].filter(([kindName]) => counts[kindName]).map(([kindName, word]) => `${int(counts[kindName])} ${word}`);
  const since = at(all.find((run) => run.id === base)?.when);
  const sum = Object.values(counts).reduce((all_, n) => all_ + n, 0);
  const none = counts.seen_first ? `${int(counts.seen_first)} seen first` : counts.unknown ? `No change found, ${int(counts.unknown)} unknown,` : "Nothing changed";
  write($("#lead"), (parts.join(", ") || none) + (since === "–" ? "" : ` since ${since}`));
  write($("#share"), `${counted(sum, "page")}, ${pct(sum && counts.same / sum)} unchanged`);
}

function tiles(counts) {
  const drawn = Object.entries(KINDS).filter(([name]) => ALWAYS.has(name) || counts[name]).map(([key, [name, means, shape, is]]) => {
    const inner = [h("b", {}, int(counts[key] ?? 0)), h("span", {}, icon(shape), name)];
    if (key === "same") return h(`div.kind.c-${is}`, { title: means }, inner);
    return h(`button.kind.c-${is}`, { type: "button", title: means, data: { kind: key }, "aria-pressed": String(key === kind), onclick: () => list(key).catch(complain) }, inner);
  });
  $(".kinds").replaceChildren(...drawn);
}

/** List the pages of a kind, and show the first; or the change *after*, if listed. */
async function list(kindName, after) {
  kind = kindName;
  changes = [];
  cursor = null;
  page = null;
  for (const el of $$(".kind[data-kind]")) el.ariaPressed = String(el.dataset.kind === kind);
  $("#list").replaceChildren();
  const { counts } = await further();
  order(counts);
  write($("#kind"), `${KINDS[kind][0]} `);
  $("#kind").append(h("span.mut", {}, int(counts[kind] ?? 0)));
  $(".master").hidden = false;
  const first = changes.find(({ url }) => url === after) ?? changes[0];
  if (first) return pick(first);
  $(".one").hidden = true;
  remember();
}

async function further() {
  const [turn, of] = [++requests, kind];
  const more = await get(`${between()}${query({ only: kind, sort: kind === "changed" ? sort : null, limit: 50, cursor })}`);
  if (turn !== requests || of !== kind) return more; // another kind was chosen
  cursor = more.next_cursor;
  $("#further").hidden = !cursor;
  changes.push(...more.items);
  $("#list").append(...more.items.map(row));
  return more;
}
$("#further").onclick = () => further().catch(complain);

/** Show the sort order, where there is a choice. */
function order({ changed }) {
  $("#orders").hidden = kind !== "changed" || changed < 2 || changed > MOST_RANKED;
  for (const el of $$("#orders button")) el.ariaPressed = String(el.dataset.sort === sort);
}
for (const el of $$("#orders button"))
  el.onclick = () => {
    localStorage.cyChanged = sort = el.dataset.sort;
    list(kind).catch(complain);
  };

function row(change) {
  const { added, removed, moved_to, detail } = change;
  const much = added == null ? [moved_to ? `to ${path(moved_to)}` : kind === "unknown" ? detail : ""] : [h("span.plus", { "aria-label": `${added} added` }, `+${int(added)}`), " ", h("span.minus", { "aria-label": `${removed} removed` }, `−${int(removed)}`)];
  const [, , shape, is] = KINDS[kind];
  const href = `${location.pathname}${query({ with: base, kind, page: change.url })}`;
  const link = h("a.clip.mono", { href, title: change.url, onclick: (event) => event.ctrlKey || event.metaKey || (event.preventDefault(), pick(change).catch(complain)) }, path(change.url));
  const el = h("li", {}, h(`span.c-${is}`, {}, icon(shape)), link, h("small.clip", { title: detail || null }, much));
  change.el = el;
  return el;
}

/** Show one page. */
async function pick(change) {
  page = change;
  for (const row of changes) row.el.ariaCurrent = row === change ? "true" : null;
  change.el.scrollIntoView({ block: "nearest" });
  remember();
  $(".one").hidden = false;
  write($("#url"), path(change.url));
  $("#url").title = change.url;
  $("#about").replaceChildren(...about(change));
  const shows = ["changed", "noise"].includes(change.kind);
  $("#ways").hidden = $("#diff").hidden = true;
  try {
    const pageDiff = shows ? await get(`${between()}/page${query({ url: change.url })}`) : await alone(change);
    if (page !== change || !pageDiff) return;
    change.diff = pageDiff;
    $("#ways").hidden = !shows;
    $("#diff").hidden = false;
    draw();
  } catch (error) {
    if (error.status !== 404) throw error;
    $("#about").append(" Its text was not stored by both runs, so there is no diff.");
  }
}

function about({ detail, moved_to, url, kind: is }) {
  const out = (to) => h("a", { href: /^https?:/.test(to) ? to : null, target: "_blank", rel: "noreferrer" }, to);
  const note = { new: "This page was not there before. Its text:", seen_first: "The earlier run may have missed this page. Its text:", gone: `The page is gone (${detail}). Its text in the earlier run:`, broken: `It ${detail}. Its text in the earlier run:`, unknown: `Not known: ${detail}.`, noise: "Only ignored lines differ." }[is];
  return [out(url), moved_to ? h("span", {}, " is now at ", out(moved_to)) : "", note ? h("span", {}, ` ${note}`) : ""];
}

/** The text of a page that only one run has, as a diff in which all of it is new or gone. */
async function alone({ kind: is, before: old, after }) {
  const was = is === "gone" || is === "broken";
  const [run, number] = was ? [base, old] : [id, after];
  if (!number || is === "moved" || is === "unknown") return null;
  const { parts } = await get(`/jobs/${segment(run)}/pages/${number}`);
  const answer = await fetch(parts.text);
  if (!answer.ok) return null;
  const lines = (await answer.text()).split("\n").map((line) => line.trim()).filter(Boolean);
  const hunk = lines.slice(0, LONGEST).map((line, n) => ({ before: was ? n + 1 : null, after: was ? null : n + 1, parts: [line] }));
  return { hunks: hunk.length ? [hunk] : [], lines: was ? 0 : lines.length };
}

function draw() {
  const apart = localStorage.cyApart === "1" && !$("#ways").hidden;
  for (const el of $$("#ways button")) el.ariaPressed = String(Boolean(el.dataset.apart) === apart);
  if (page.diff) diff($("#diff"), page.diff, apart);
}
for (const el of $$("#ways button"))
  el.onclick = () => {
    localStorage.cyApart = el.dataset.apart;
    draw();
  };

// --- ignore rules and notifications

function rules({ ignore_text: patterns = [], noise_after: after, confirm_changes: confirms }) {
  const lines = [
    patterns.length && `${counted(patterns.length, "line pattern")} (${patterns.join(", ")})`,
    after && `lines that differ in ${after} runs in a row`,
    confirms && "lines that differ between two fetches",
  ].filter(Boolean);
  const { schedule_id: schedule } = job.origin;
  const where = schedule ? `/schedules/${segment(schedule)}#name` : `/jobs/${segment(id)}/config`;
  $("#ignored").replaceChildren(lines.length ? `Ignored: ${lines.join("; ")}. ` : "Nothing is ignored. ", h("a", { href: where }, "Edit ignore rules"));
}

function follow(name) {
  const { schedule_id: schedule } = job.origin;
  for (const name of ["#notify", "#feed"]) $(name).hidden = !schedule;
  if (!schedule) return;
  $("#notify").href = "/settings/webhooks" + query({ events: "run.changed page.changed", description: `Changes of ${name}`, schedule: job.expanded?.schedule?.name });
  $("#feed").href = `/api/v1/schedules/${segment(schedule)}/changes.atom`;
}

// --- by key

function step(by) {
  const n = changes.indexOf(page) + by;
  if (n < 0) return;
  if (changes[n]) pick(changes[n]).then(() => $("a", changes[n].el).focus({ preventScroll: true }), complain);
  else if (cursor) further().then(() => changes[n] && step(by), complain);
}
keys({ j: () => step(1), k: () => step(-1) });
$("#list").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const change = changes.find(({ el }) => el.contains(event.target));
  pick(change).then(() => $("#diff").focus(), complain);
});

load(async () => {
  try {
    job = await get(`/jobs/${segment(id)}?expand=schedule`);
  } catch (error) {
    if (error.status !== 404) throw error;
    return $("#page").replaceWith(copy("missing"));
  }
  const name = job.expanded?.schedule?.name || job.name || host(job.spec.urls[0]);
  write($("#of"), name);
  document.title = `Changes of ${name} · Crawlyard`;
  const all = await runs();
  base = address.get("with") ?? before(all);
  if (!base) {
    $("#page").replaceWith(copy("alone"));
    return lock();
  }
  choices(all);
  follow(name);
  rules(job.spec);
  $("#open").hidden = Boolean(job.ended_at);
  const { counts } = await get(`${between()}?limit=1`);
  lead(counts, all);
  if (counts.changed <= MOST_RANKED) sort = localStorage.cyChanged ?? "-share";
  kind = [address.get("kind"), ...Object.keys(KINDS)].find((name) => name !== "same" && KINDS[name] && counts[name]);
  tiles(counts);
  if (kind) await list(kind, page?.url ?? address.get("page"));
  trends();
});
