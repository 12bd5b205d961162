/** How schedules stand, and what became of their runs: words, which are icons and colours too. */
import { at, brief, cap, counted, fateWord, few, int } from "../core/all.js";
import { bars, lines, strip } from "./charts.js";

const LATE_MS = 10000; // twice what a scheduler takes to see a change
export const MOST = 30; // runs in a strip and in a trend
const GONE = { ran: "Ran, job deleted", caught_up: "Ran late, job deleted" };

/** Kinds of changes, in the order of lists: the word, what it means, its icon, its colour. */
export const KINDS = {
  changed: ["Changed", "The text differs", "edit", "stopped"],
  new: ["New", "The earlier run did not have it", "plus", "done"],
  seen_first: ["Seen first", "The earlier run may have missed it", "plus", "running"],
  moved: ["Moved", "The same text at another address", "move", "running"],
  gone: ["Gone", "Returns 404 or 410, or is no longer linked", "cancelled", "paused"],
  broken: ["Broken", "It worked before, and now returns an error", "broken", "failed"],
  unknown: ["Unknown", "The later run could not check it", "warning", "waiting"],
  noise: ["Noise", "Only ignored lines differ", "cancelled", "idle"],
  same: ["Unchanged", "The text is the same", "completed", "idle"],
};
const NEWS = ["changed", "new", "seen_first", "moved", "gone", "broken"];
export const news = (counts) => NEWS.reduce((sum, kind) => sum + (counts[kind] ?? 0), 0);

/** *schedule* as pages show it: it *is* on, paused, late or ended, and why. */
export function standing(schedule) {
  const { paused_at, paused_by, pause_reason, fire_at, next_at, waiting_at } = schedule;
  const late = fire_at && Date.now() - Date.parse(fire_at) > LATE_MS;
  const is = paused_at ? "paused" : late ? "late" : next_at || waiting_at ? "on" : "ended";
  const why = { paused: pause_reason || `by ${paused_by}`, late: "no scheduler has started it", on: waiting_at && "a run waits" }[is];
  const flags = Object.fromEntries(["on", "paused", "late", "ended"].map((word) => [word, word === is]));
  const verb = paused_at ? "resume" : "pause";
  const can = Object.fromEntries(schedule.allowed_actions.map((action) => [action, true]));
  return { ...schedule, ...flags, can, is, why, verb, toggle: cap(verb), toggled: `${cap(verb)}d` };
}

export const fate = (is) => GONE[is] ?? fateWord(is);

/** A run as pages show it: by its job, if that is known, else by what became of its time. */
export function runView(run) {
  const { fate: runFate, job } = run.expanded ?? {};
  const is = run.fate ?? runFate ?? run.outcome;
  const label = run.ended || job?.outcome || fate(is);
  const late = job?.started_at && run.reason !== "backfill" && Math.max(0, (Date.parse(job.started_at) - Date.parse(run.due_at)) / 1000);
  const compared = job?.changes && job.base_id;
  return { ...run, is, said: label, job, jobless: !run.job_id, late, changed: compared && `${news(job.changes)}` };
}

/** The last *runs*, the latest first, as a strip: the higher, the more pages. */
export function drawn(runs) {
  const last = runs.slice(0, MOST);
  const most = Math.max(1, ...last.map(({ pages }) => pages ?? 0));
  const cells = last.map(({ is, said, due_at, pages }) => ({
    is, share: pages == null ? 0 : Math.max(0.15, pages / most),
    tip: [at(due_at), said, pages != null && counted(pages, "page")].filter(Boolean).join(" · "),
  }));
  const count = (is) => last.filter((run) => run.is === is).length;
  return strip(cells.reverse(), `Last ${counted(last.length, "run")}: ${count("failed")} failed, ${count("stopped")} stopped early`, MOST);
}

/** Draw what the last *runs* (expanded with their jobs, the latest first) changed, fetched and took, each into its figure. */
export function trend({ changes, pages, took }, runs) {
  const started = runs.filter(({ job }) => job?.started_at).reverse();
  const x = started.map(({ due_at }) => due_at);
  const of = (values) => ({ x, hrefs: started.map(({ job_id }) => `/jobs/${job_id}`), first: "Run", ...values });
  const compared = started.filter(({ changed }) => changed);
  const kinds = ["new", "changed", "gone", "broken"];
  const sum = (run, kind) => (run.changes?.[kind] ?? 0) + (kind === "new" ? (run.changes?.seen_first ?? 0) : 0);
  changes.hidden = !compared.some(({ changed }) => Number(changed)); // no empty axes
  if (!changes.hidden) {
    const series = kinds.map((kind) => ({ is: KINDS[kind][3], name: KINDS[kind][0], values: started.map(({ job, changed }) => (changed ? sum(job, kind) : null)) }));
    bars(changes, of({ said: `Changes per run: ${int(Number(compared.at(-1).changed))} in the last`, series, hrefs: started.map(({ job_id, changed }) => changed && `/jobs/${job_id}/changes`) }));
  }
  const course = (el, name, value, say) => {
    const values = started.map(({ job }) => value(job));
    lines(el, of({ said: `${name}: ${say(values.at(-1))} in the last run, ${say(Math.max(...values))} at most`, series: [{ is: "running", name, values, area: true }], say }));
  };
  for (const el of [pages, took]) el.hidden = !started.length;
  if (!started.length) return;
  course(pages, "Pages", (job) => job.pages, few);
  course(took, "Duration", (job) => job.duration_s, brief);
}
