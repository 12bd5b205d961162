/** A schedule or a new one: its form with a preview of its runs, and its past runs. */
import { $, $$, act, ask, bind, complain, copy, counted, get, h, host, keys, later, load, on, patch, post, query, remove, rows, segment, soon, toast, user, write } from "../core/all.js";
import * as forms from "../core/form.js";
import { summaries, under } from "../parts/crawl.js";
import { chosen, params } from "../parts/params.js";
import { Table } from "../parts/table.js";
import { thing } from "../parts/declarative.js";
import { drawn, MOST as LAST, runView, standing, trend } from "../parts/schedules.js";
import { turns, Week } from "../parts/week.js";
import { views } from "../parts/yaml.js";

const ref = document.body.dataset.schedule; // none: a new one
const path = ref && `/schedules/${segment(ref)}`;
const form = $("#form");
const { when, zone, template, jitter_s } = form.elements;
const paint = bind($("#page"));
const summed = summaries(form);
const MOST = 100; // runs of a preview
let templates;
let schedule;
let version; // version in the form
let before; // values of that version
let typed = false;
let looks = 0;

// --- the form

/** The values of the form, as the API accepts them. */
function values() {
  const { overrides = {} } = forms.read($("#crawl")); // empty fields use the template or the default
  return { params: {}, template_version: null, ...forms.read(form, Boolean(ref)), overrides };
}

/** Show the parameters of the chosen template. */
function choose() {
  const selected = templates.find((candidate) => candidate.id === template.value);
  $("#pin").hidden = $("#over").hidden = !selected;
  write($("#newest"), String(selected?.version));
  params($("#params"), selected);
  under($("#crawl"), selected?.spec, "overrides.");
  summed();
  explain();
}

/** Show the explanation of the selected option. */
const explain = () => ["template", "overlap", "misfire"].forEach((name) => write($(`#${name}-help`), form.elements[name].selectedOptions[0].title));

/** Fill the form with a schedule, as `POST /schedules` takes it; missing fields get their defaults. */
function fill({ template: named = "", params: params = {}, ...fields }) {
  form.reset();
  const selected = templates.find((candidate) => [candidate.id, chosen(candidate, user.id), `${candidate.owner}/${candidate.name}`].includes(named));
  forms.write(form, { zone: "UTC", ...fields, template: selected?.id ?? named }); // a template that is not listed belongs to another user
  choose();
  forms.write(form, { params: params });
}

function refill() {
  fill({ ...schedule, template: schedule.template_id ?? "" });
  before = values();
  ({ version } = schedule);
}

/** Fill the form from YAML; every value must have a field. */
function written(saved) {
  fill(saved);
  looking();
  const detail = Object.keys(saved.params ?? {}).filter((name) => !form.elements[`params.${name}`]).map((name) => `params.${name}: the template has no such field`).join("; ");
  if (detail) throw Object.assign(new Error(detail), { code: "params", errors: [{ pointer: "/content", detail }] });
}
const view = views(form, { kind: "schedule", said: values, refill: written });

template.onchange = choose;
form.onchange = explain;
forms.submits(form, async () => {
  await view.turn("form");
  const fields = values();
  if (!ref) return location.assign(`/schedules/${(await post("/schedules", fields)).id}`);
  try {
    await patch(path, forms.changes(before, fields), version);
  } catch (error) {
    $("#stale").hidden = error.status !== 412;
    throw error;
  }
  typed = false;
  await refresh();
  toast("Saved");
});

// --- preview

/** Describe the times, the next runs, and the hours of the week. */
async function look() {
  if (view.is("yaml")) return; // the form may differ
  const mine = ++looks;
  // intervals are counted from the beginning of the schedule
  const { runs_left = MOST, ...times } = forms.read($("#times"));
  const draft = { starts_at: schedule?.created_at, jitter_s: forms.span(jitter_s.value || "0"), count: MOST, ...times };
  const preview = await post("/schedules/preview", draft).catch((error) => error);
  if (mine !== looks) return; // the user has typed on
  const { text, next, warnings, message, errors = [{ detail: message }] } = preview;
  when.ariaInvalid = text ? null : "true";
  write($("#said"), text ?? errors.map((error) => error.detail).join("; "));
  if (!text) return;
  const coming = next.slice(0, runs_left);
  const end = new Date(Date.now() + 7 * 864e5).toISOString();
  const hours = $$("#week i"); // of Monday, of Tuesday, …; none of a schedule that is there
  for (const hour of hours) hour.className = hour.title = "";
  coming.forEach((run, i) => {
    const clock = new Date(`${run.local.slice(0, 19)}Z`); // local time in the zone, parsed as UTC
    run.wall = clock.toUTCString().slice(0, 22);
    run.change = run.remark || (i && run.local.slice(19) !== coming[i - 1].local.slice(19));
    const hour = hours[((clock.getUTCDay() + 6) % 7) * 24 + clock.getUTCHours()];
    if (hour && run.at < end) Object.assign(hour, { className: "on", title: run.wall });
  });
  rows($("#warnings"), "warning", warnings);
  rows($("#next"), "ahead", coming.slice(0, 5));
  if (ref) return;
  $("#week").ariaLabel = text;
  $("#part").hidden = !(coming[MOST - 1]?.at < end);
}
const looking = later(250, look);
form.oninput = () => {
  typed = true;
  looking();
};

// --- past runs

const ledger = ref && new Table({
  root: $("#ledger"),
  row: "tick",
  id: "due_at",
  path: `${path}/runs?expand=job&limit=12`,
  view: runView,
});
const plan = ref && new Week($("#plan"), { range: (text) => write($("#days"), text) });
const turned = (to) => plan.show(to).catch(complain);

/** The warning after consecutive failures. */
function failing(runs) {
  const ended = runs.filter(({ job }) => job?.ended_at);
  const n = ended.findIndex(({ is }) => is !== "failed");
  const many = n < 0 ? ended.length : n;
  if (!many || schedule.paused_at) return { failing: "" };
  const rest = schedule.pause_after && schedule.pause_after - many;
  return {
    failing: many === 1 ? "The last run failed" : `The last ${many} runs failed`,
    failed_job: ended[0].job_id,
    failed_why: rest > 0 ? `${counted(rest, "more failure")} in a row will pause this schedule.` : "",
  };
}

async function refresh() {
  try {
    schedule = await get(path);
  } catch (error) {
    if (error.status !== 404) throw error;
    return $("#page").replaceWith(copy("missing"));
  }
  document.title = `${schedule.name} · Crawlyard`;
  plan.schedule = schedule;
  const { items } = await get(`${path}/runs?expand=job&limit=${LAST}`);
  const runs = items.map(runView);
  Object.assign(thing, standing(schedule), failing(runs), { host: schedule.overrides.urls?.map(host)[0] });
  paint(thing);
  $("fieldset", form).disabled = !thing.can.edit;
  $("#page").inert = false;
  if (!typed && schedule.version !== version) refill();
  look();
  trend({ changes: $("#changes"), pages: $("#pages"), took: $("#took") }, runs);
  $("#strip").replaceChildren(runs.length ? drawn(runs.map((run) => ({ ...run, pages: run.job?.pages }))) : "");
  $("#trend .none").hidden = runs.length > 0;
  await Promise.all([plan.show(), ledger.reload()]);
}
setInterval(() => schedule && paint(Object.assign(thing, standing(schedule))), 10000); // lateness has no event
on("schedule.paused schedule.resumed", ({ subject, data }) => {
  if (subject === schedule?.id && data.version === version + 1) version++; // its settings are as they were
});
on("schedule.* job.state", soon(300, () => schedule && refresh().catch(complain)));

// --- actions

async function backfill({ currentTarget: button }) {
  const range = await ask({ title: "Backfill missed runs", verb: "Show them", fields: "range" });
  if (!range) return;
  for (const name in range) range[name] = range[name] ? new Date(range[name]) : null;
  const send = (body, done) => act(button, () => post(`${path}/backfill`, body), done);
  const backfill = await send(range);
  if (!backfill) return;
  const n = backfill.runs.length;
  if (!n) return toast("No run was missed in that range");
  const fields = copy("instants", backfill);
  rows($("ol", fields), "instant", backfill.runs);
  if (await ask({ title: `Submit ${counted(n, "job")}?`, verb: `Submit ${n}`, fields }))
    await send({ ...range, to: backfill.until, dry_run: false }, counted(n, "job submitted", "jobs submitted"));
}

async function drop({ currentTarget: button }) {
  const fields = copy("deleting", await get(`/jobs/counts${query({ schedule: schedule.id })}`));
  if (await ask({ title: `Delete ${schedule.name}?`, verb: "Delete", bad: true, fields }))
    await act(button, async () => location.assign((await remove(path, schedule.version)) ?? "/schedules"));
}
if (ref) {
  $("#backfill").onclick = backfill;
  $("#delete").onclick = drop;
}
if (ref) keys(turns(document, plan, turned));
keys({ p: () => $("[data-key]:not([hidden])")?.click() });

load(async () => {
  if (templates) return ref && refresh(); // input stays
  templates = (await get("/templates?limit=200")).items;
  template.append(...templates.map((candidate) => h("option", { value: candidate.id, title: candidate.description }, chosen(candidate, user.id))));
  if (ref) return refresh();
  zone.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
  template.value ||= new URLSearchParams(location.search).get("template") ?? "";
  choose();
});
$("#zones").append(...Intl.supportedValuesOf("timeZone").map((value) => h("option", { value })));
