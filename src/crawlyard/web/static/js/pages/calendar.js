/** Calendar: a week of all schedules, with past and planned runs by hour. */
import { $, complain, copy, get, keys, later, load, on, query, soon, write } from "../core/all.js";
import { fate } from "../parts/schedules.js";
import { turns, Week } from "../parts/week.js";

const hoursByLabel = new Map(); // runs of an hour, by its label
let hour;

const EMPTY = { beyond: "Not computed yet.", before: "Before its start." };

/** List the runs of the hour under the pointer. */
function describe(slot) {
  const there = !["none", "before", "beyond"].includes(slot.is);
  if (hour?.label !== slot.label) listed(hoursByLabel.get(slot.label) ?? []);
  hour = slot;
  write($("#which"), slot.label);
  write($("#runs + p"), there ? "Looking…" : EMPTY[slot.is] ?? "No runs.");
  if (there && !hoursByLabel.has(slot.label)) look();
}
const look = later(120, async () => {
  const { from, to, label } = hour;
  const { occurrences } = await get(`/schedules/calendar${query({ from: from.toISOString(), to: to.toISOString() })}`);
  hoursByLabel.set(label, occurrences);
  if (label !== hour.label) return;
  listed(occurrences);
  write($("#runs + p"), "No runs."); // shown if the list is empty
});
function listed(runs) {
  const body = runs.map((run) => copy("run", { ...run, is: run.fate, said: run.fate && fate(run.fate), planned: !run.fate && run.enabled, held: !run.fate && !run.enabled }));
  $("#runs").replaceChildren(...body);
}

const week = new Week($("#grid"), { onHour: describe, range: (text) => write($("#range"), text) });
const again = (to) => {
  hoursByLabel.clear();
  return week.show(to).catch(complain);
};
keys(turns(document, week, again));
load(() => {
  hoursByLabel.clear();
  return week.show();
});
on("schedule.* job.state", soon(1000, () => again(), 10_000));
on("workers", ({ workers }) => {
  week.slots = workers.reduce((sum, worker) => sum + (worker.alive && worker.slots), 0);
  week.draw();
});
