/** A job: progress, actions, and tabs with their own URLs. */
import { $, $$, act, ask, bind, clip, complain, copy, counted, dur, fill, get, keys, later, load, on, patch, post, remove, rows, toast } from "../core/all.js";
import { clear, read, submits, write } from "../core/form.js";
import { merged } from "../parts/job.js";
import { issued, list as listIn, thing } from "../parts/declarative.js";
import { begin as downloads } from "./job-download.js";
import { follow, pace } from "./job-live.js";
import { listen, open, path, spec } from "./job-tabs.js";
import { headline, raised } from "./job-words.js";

const { job: id } = document.body.dataset;
const EVERY_MS = 5000; // position in the queue and metrics have no events
const show = bind($("#job"));
const proxies = $("#proxies"); // held: a job that is deleted takes it away
let tab;
let hosts = [];

/** Merge *news* into the job, and show its state. */
function take(news) {
  if (!$("#bar")) return; // it was deleted meanwhile
  const job = Object.assign(thing, merged(thing, news));
  const { state, waits_for, allowed_actions, ended_at } = job;
  const words = [state, ...waits_for.map(({ reason }) => reason), ...allowed_actions];
  const reruns = ended_at && allowed_actions.includes("retry"); // a damaged one cannot
  const resumes = ended_at && allowed_actions.includes("resume");
  Object.assign(job, {
    left: Math.max(0, job.found - job.done),
    troubles: job.failed + (job.usage?.needs_scripts ?? 0),
    is: Object.fromEntries(words.map((word) => [word, true])),
    reruns,
    again: reruns && job.failed,
    stopped: job.shown === "stopped" && state === "completed" && !job.damaged, // by a limit, which can be raised
    changes: !ended_at && allowed_actions.includes("edit"),
    goes_on: !ended_at && allowed_actions.includes("resume"),
    continues: resumes && job.shown === "stopped" && state === "cancelled",
    reopens: resumes && !(job.shown === "stopped" && state === "cancelled"),
    amends: ended_at && allowed_actions.includes("edit"),
  });
  job.headline = headline(job, hosts);
  show(job);
  draw(job);
  list(job);
  document.title = `${job.title} · Crawlyard`;
}

/** List the state of its proxies. */
function list({ uses = [], ended_at }) {
  proxies.hidden = !uses.length;
  rows($("ul", proxies), "proxy-at", uses.map(({ proxy, connections, failures, rests_s }) => ({
    proxy,
    done: `${counted(connections, "connection")} · ${counted(failures, "failure")}`,
    rests: rests_s && !ended_at ? `Paused for another ${dur(rests_s)}` : "",
  })));
}

/** Draw fetched and failed URLs as shares of the discovered ones, not of a limit. */
function draw({ done, found, failed, ended_at }) {
  const share = (n) => (found ? Math.min(1, n / found) * 100 : 0);
  const [fetchedBar, bad] = $$("#bar rect");
  fetchedBar.setAttribute("width", share(done - failed).toFixed(2));
  bad.setAttribute("x", share(done - failed).toFixed(2));
  bad.setAttribute("width", share(failed).toFixed(2));
  $("#bar").ariaValueNow = ended_at && !found ? 100 : Math.floor(share(done));
}

async function reload() {
  take(await get(`${path}?expand=template,schedule`));
  paced().catch(complain);
  if (thing.state !== "paused") return;
  const asks = [`/events?job=${id}&type=job.paused&limit=1`, "/settings/retention"];
  const [{ items: [last] }, { effective }] = await Promise.all(asks.map(get));
  const days = effective.paused_ttl_days;
  take({ stops_at: days && last && new Date(Date.parse(last.at) + days * 864e5).toISOString() });
}

async function paced() {
  hosts = await pace();
  take({});
}

function nowhere() {
  thing.id = null;
  $(".body").replaceChildren(copy("nowhere"));
}

// --- tabs

const refresh = () => thing.id && open(tab)?.then(() => take({})).catch(complain);

const OLD = { errors: "problems", events: "history", config: "settings" }; // earlier names of tabs

/** Show the tab in the URL. */
function go() {
  const sections = $$("section[data-tab]");
  const names = sections.map((el) => el.dataset.tab);
  const tabName = location.pathname.split("/")[3];
  if (OLD[tabName]) history.replaceState(null, "", `/jobs/${id}/${OLD[tabName]}${location.search}`);
  if (tabName === "download") downloads();
  tab = names[Math.max(0, names.indexOf(OLD[tabName] ?? tabName))];
  for (const el of sections) el.hidden = el.dataset.tab !== tab;
  for (const el of $$(".tabs a")) el.ariaCurrent = el.dataset.tab === tab ? "page" : null;
  $(".tabs").scrollLeft = current().offsetLeft - 60; // of a phone
  watch();
  refresh();
}
addEventListener("popstate", go);

/** Keep the streams of the tab open while it is visible. */
function watch() {
  listen(tab === "log");
  follow(tab === "overview");
}
document.onvisibilitychange = watch;

// --- edits

const texts = (form) => Object.fromEntries(new FormData(form));

/** Fill *form* from the job. */
function begin(form) {
  write(form, thing);
  Object.assign(form, { was: texts(form), v: thing.v });
}

function edit(name, button) {
  const dialog = $(`#${name}`);
  const form = $("form", dialog);
  if (name === "share") return share(dialog);
  clear(form);
  form.reset();
  if (form.dataset.edit) begin(form);
  else form.pattern.value = button.dataset.pattern ?? "";
  if (name === "limits") price();
  dialog.showModal();
}

/** Show the ways to share the job, with its links. */
function share(dialog) {
  const links = $("#shares");
  if (!links.dataset.listed) {
    const view = (link) => ({ ...link, ...issued(link), title: link.name || `${link.prefix}…` });
    listIn(links, { view });
    links.dataset.listed = "yes";
  }
  dialog.showModal();
}

/** Show the cost of raising the limits to those of the form. */
function price() {
  const form = $("#limits form");
  const pages = form.elements["limits.pages"].value.trim();
  $("#cost").textContent = raised(thing, { pages: pages ? Number(pages) : null });
}
$("#limits form").addEventListener("input", price);

/** Report changes by someone else; input stays and can be saved over them. */
async function stale(form) {
  const [mine, { was }] = [texts(form), form];
  await reload();
  begin(form);
  const changes = [];
  for (const name in was) {
    const [old, now] = [was[name], form.was[name]];
    if (now !== old) changes.push(`${name} ${old || "none"} → ${now || "none"}`);
    if (mine[name] !== old) form.elements[name].value = mine[name];
  }
  return `Changed meanwhile by someone else: ${changes.join(", ") || "nothing in this form"}. Save again to apply your changes.`;
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
  const exclusion_result = await post(`${path}/exclusions`, { pattern: exclusion.pattern.value, dry_run: how !== "add" });
  fill(exclusion, { ...exclusion_result, list: exclusion_result.samples.join("\n") });
  if (exclusion_result.dry_run) return;
  $("#exclude").close();
  toast(`Excluded: ${counted(exclusion_result.pending_removed, "waiting URL")} will be skipped`);
});

$("#save").onclick = async ({ target }) => {
  const answers = await ask({ title: "Save as template", verb: "Save", fields: "ask-template" });
  const save = async () => post("/templates", { ...answers, spec: await spec() });
  const template = answers && (await act(target, save));
  if (template) location.assign(`/templates/${template.id}`);
};

$("#pause").onclick = ({ currentTarget }) =>
  act(currentTarget, async () => {
    take(await post(`${path}/pause`));
    const undo = async () => take(await post(`${path}/resume`));
    toast(`Paused ${thing.title}: requests in flight are finished`, { undo });
  });

$("#stop").onclick = async ({ currentTarget }) => {
  const answers = await ask({ title: "Stop this crawl?", verb: "Stop", bad: true, fields: copy("ask-stop", thing) });
  if (!answers) return;
  const { then, ...reason } = answers;
  await act(currentTarget, async () => {
    take(await post(`${path}/cancel`, reason));
    if (then === "discard") {
      await remove(path, "*");
      location.assign("/jobs");
    }
  });
};

// --- events

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
  if (text) act(button, async () => clip(await copied(text), button.ariaLabel ? button.ariaLabel.replace("Copy ", "") : "It is"));
});

async function copied(text) {
  if (text === "LINK") return new URL(`/jobs/${id}`, location.href).href;
  return text === "JSON" ? JSON.stringify(await spec(), null, 2) : text;
}

// of several, the one that is for less: what failed before all of it
for (const key of "prc") keys({ [key]: () => $$(`[data-key=${key}]:not([hidden])`).at(-1)?.click() });
const current = () => $(".tabs [aria-current]");
keys({ "[": () => current().previousElementSibling?.click(), "]": () => current().nextElementSibling?.click() });

const again = later(100, () => thing.id && reload().then(refresh).then(watch).catch(complain));
on("progress", (jobs) => thing.id && jobs.filter((job) => job.id === id).forEach(take));
on("job.state job.updated", (event) => event.job_id === id && again());
on("job.deleted", (event) => event.job_id === id && nowhere());
setInterval(() => {
  if (!thing.id || thing.ended_at || document.hidden) return;
  reload().then(() => /overview|problems|queue/.test(tab) && refresh()).catch(() => {});
}, EVERY_MS);

load(() => reload().then(go, (error) => {
  if (error.status !== 404) throw error;
  nowhere();
}));
