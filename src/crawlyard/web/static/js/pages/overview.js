/** The yard at a glance, kept right while it is looked at; in an empty one, the first crawl. */
import { $, act, bind, cap, complain, get, load, on, post, query, soon } from "../core/all.js";
import { read, submits } from "../core/form.js";
import { bars } from "../parts/charts.js";
import { draw } from "../parts/job.js";
import { Table } from "../parts/table.js";

const list = (name, id, more) => new Table({ root: $(`#${name}`), row: `${name}-row`, id, ...more });
const [failing, next, notices] = [list("failing", "host"), list("next", "schedule_id"), list("attention", "key")];
const workers = list("workers", "id", {
  dress: (tr, { running, slots }) => draw($(".pb", tr), { way: running.length / slots, state: "running" }),
});

const paint = bind($("#main"));

/** What goes on, and what ended in the period. */
async function figures() {
  const [{ value, dataset, text }] = $("#period").selectedOptions;
  const ms = dataset.step * 1000;
  const since = new Date(Math.ceil((Date.now() - value * 1000) / ms) * ms).toISOString();
  const [told, { items }] = await Promise.all([get(`/stats${query({ since, step_s: dataset.step })}`), get("/workers")]);
  const said = ({ completed, failed, cancelled }) => `${completed} completed, ${failed} failed, ${cancelled} cancelled`;
  const series = [["completed", "Completed"], ["failed", "Failed"], ["cancelled", "Cancelled"]].map(([is, name]) => ({ is, name, values: told.finished.map(({ ended }) => ended[is]) }));
  bars($("#chart"), { said: `Jobs finished in ${text}: ${said(told.cards.ended)}`, x: told.finished.map((one) => one.at), step: ms, to: told.until, series });
  failing.items(told.failing_hosts);
  workers.items(items.filter((one) => one.alive));
  const busy = Object.values(told.cards.jobs).some(Boolean);
  paint({ ...told.cards, since, busy, empty: !busy, idle: !told.cards.workers, period: text, step: dataset.said });
}

async function attention() {
  const { items } = await get("/attention");
  notices.items(items.map((one) => {
    const { kind, subject, job_id, help } = one;
    const plan = subject?.type === "schedule";
    const [where, ref] = job_id ? ["jobs", job_id] : plan ? ["schedules", subject.id] : ["settings", subject ? "webhooks" : "system"];
    return { ...one, where, ref, key: kind + (job_id ?? subject?.id), verb: help?.method === "POST" && cap(help.path.split("/").pop()) };
  }));
}
notices.body.onclick = ({ target }) => {
  if (!target.matches("button")) return;
  const { help, verb, kind } = notices.rows.get(target.closest("tr").dataset.id).item;
  act(target, () => post(help.path.slice(7), {}, "*").then(attention), `${cap(kind)}: ${verb}`);
};

async function runs() {
  const to = new Date(Date.now() + 86400000).toISOString();
  const { occurrences } = await get(`/schedules/calendar${query({ to })}`);
  const first = (one, i, all) => one.enabled && all.findIndex((other) => other.schedule_id === one.schedule_id) === i;
  next.items(occurrences.filter(first).slice(0, 5));
}

/** Load, and again at most every two seconds when one of *events* says so. */
function keep(work, events) {
  load(work);
  on(events, soon(2000, () => work().catch(complain)));
}
keep(figures, "counts workers progress");
keep(attention, "counts workers schedule.* webhook.*");
keep(runs, "schedule.*");
$("#period").onchange = () => figures().catch(complain);
const form = $("#start");
submits(form, async () => location.assign(`/jobs/${(await post("/jobs", read(form))).id}`));
