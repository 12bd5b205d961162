/** A job: how far it has come, what can be done about it, and its tabs, which are addresses. */
import { $, $$, act, ask, bind, clip, complain, copy, counted, fill, get, int, keys, later, load, on, patch, post, toast } from "../core/all.js";
import { clear, read, submits, write } from "../core/form.js";
import { draw, merged } from "../parts/job.js";
import { thing } from "../parts/told.js";
import { listen, open, path, spec } from "./job-tabs.js";

const { job: id } = document.body.dataset;
const EVERY_MS = 5000; // what no event tells of: its place in the queue, its course
const show = bind($("#job"));
let tab;

/** Take *news* of it, and show how it stands. */
function take(news) {
  if (!$("#bar")) return; // it was deleted meanwhile
  const job = Object.assign(thing, merged(thing, news));
  const { state, limits, waits_for, allowed_actions, eta_confidence } = job;
  const words = [state, eta_confidence, ...waits_for.map(({ reason }) => reason), ...allowed_actions];
  const left = Math.max(0, job.found - job.done);
  Object.assign(job, {
    left,
    said: { pages: int(job.pages), left: int(left), found: int(job.found) },
    is: Object.fromEntries(words.map((word) => [word, true])),
    again: job.ended_at && job.failed && !job.damaged,
    stopped: job.shown === "stopped",
    rough: job.found && !job.ended_at && eta_confidence !== "high",
    used: {
      pages: job.pages / limits.pages,
      bytes: job.bytes / limits.bytes,
      time: job.elapsed_s / limits.duration_s,
      errors: job.failed / limits.errors,
    },
  });
  show(job);
  draw($("#bar"), job);
  document.title = `${job.title} · Crawlyard`;
}

async function reload() {
  take(await get(`${path}?expand=template,schedule`));
  if (thing.state !== "paused") return;
  const asks = [`/events?job=${id}&type=job.paused&limit=1`, "/settings/retention"];
  const [{ items: [last] }, { effective }] = await Promise.all(asks.map(get));
  const days = effective.paused_ttl_days;
  take({ stops_at: days && last && new Date(Date.parse(last.at) + days * 864e5).toISOString() });
}

function nowhere() {
  thing.id = null;
  $(".body").replaceChildren(copy("nowhere"));
}

// --- tabs

const refresh = () => thing.id && open(tab)?.catch(complain);

/** Show the tab that the address names. */
function go() {
  const sections = $$("section[data-tab]");
  const names = sections.map((el) => el.dataset.tab);
  tab = names[Math.max(0, names.indexOf(location.pathname.split("/")[3]))];
  for (const el of sections) el.hidden = el.dataset.tab !== tab;
  for (const el of $$(".tabs a")) el.ariaCurrent = el.dataset.tab === tab ? "page" : null;
  $(".tabs").scrollLeft = current().offsetLeft - 60; // of a phone
  listen(tab === "overview" || tab === "log");
  refresh();
}
addEventListener("popstate", go);

// --- what can be changed

const texts = (form) => Object.fromEntries(new FormData(form));

/** Let the fields of *form* say how the job is. */
function begin(form) {
  write(form, thing);
  Object.assign(form, { was: texts(form), v: thing.v });
}

function edit(name, button) {
  const dialog = $(`#${name}`);
  const form = $("form", dialog);
  clear(form);
  form.reset();
  if (form.dataset.edit) begin(form);
  else form.pattern.value = $("pre", button.closest("tr") ?? dialog).textContent.split("\n")[0];
  dialog.showModal();
}

/** Say what somebody else has changed; what was typed here stays, and can be saved over it. */
async function stale(form) {
  const [mine, { was }] = [texts(form), form];
  await reload();
  begin(form);
  const told = [];
  for (const name in was) {
    const [old, now] = [was[name], form.was[name]];
    if (now !== old) told.push(`${name} ${old || "none"} → ${now || "none"}`);
    if (mine[name] !== old) form.elements[name].value = mine[name];
  }
  return `Changed meanwhile by somebody else: ${told.join(", ") || "nothing of this form"}. Save again if yours still holds.`;
}

for (const form of $$("[data-edit]"))
  submits(form, async (then) => {
    try {
      take(await patch(path, read(form, true), form.v));
    } catch (error) {
      if (error.status === 412) error.message = await stale(form);
      throw error;
    }
    if (then) take(await post(`${path}/${then}`));
    form.closest("dialog").close();
    toast("Saved");
  });

const exclusion = $("#exclusion");
submits(exclusion, async (how) => {
  const told = await post(`${path}/exclusions`, { pattern: exclusion.pattern.value, dry_run: how !== "add" });
  fill(exclusion, { ...told, list: told.samples.join("\n") });
  if (told.dry_run) return;
  $("#exclude").close();
  toast(`Excluded: ${counted(told.pending_removed, "waiting URL")} will be skipped`);
});

$("#save").onclick = async ({ target }) => {
  const said = await ask({ title: "Save as template", verb: "Save", fields: "ask-template" });
  const save = async () => post("/templates", { ...said, spec: await spec() });
  const made = said && (await act(target, save));
  if (made) location.assign(`/templates/${made.id}`);
};

// --- what happens

addEventListener("click", (event) => {
  const { target, ctrlKey, metaKey, shiftKey } = event;
  const link = target.closest("a[data-tab]");
  if (link && !ctrlKey && !metaKey && !shiftKey) {
    event.preventDefault();
    history.pushState(null, "", link.href);
    go();
  }
  const button = target.closest("button");
  const { open: dialog, copy: text } = button?.dataset ?? {};
  for (const menu of $$(".drop[open]")) menu.open = !link && !button && menu.contains(target);
  if (dialog) edit(dialog, button);
  if (text) act(button, async () => clip(text === "JSON" ? JSON.stringify(await spec(), null, 2) : text, "It is"));
});

for (const key of "prc") keys({ [key]: () => $(`[data-key=${key}]:not([hidden])`)?.click() });
const current = () => $(".tabs [aria-current]");
keys({ "[": () => current().previousElementSibling?.click(), "]": () => current().nextElementSibling?.click() });

const again = later(100, () => thing.id && reload().then(refresh).then(() => listen()).catch(complain));
on("progress", (jobs) => thing.id && jobs.filter((one) => one.id === id).forEach(take));
on("job.state job.updated", (event) => event.job_id === id && again());
on("job.deleted", (event) => event.job_id === id && nowhere());
setInterval(() => {
  if (!thing.id || thing.ended_at || document.hidden) return;
  reload().then(() => /overview|errors/.test(tab) && refresh()).catch(() => {});
}, EVERY_MS);

load(() => reload().then(go, (error) => {
  if (error.status !== 404) throw error;
  nowhere();
}));
