/** How schedules stand, and what became of their ticks: words, which are icons and colours too. */
import { at, cap, counted } from "../core/all.js";
import { strip } from "./charts.js";

const LATE_MS = 10000; // twice what a scheduler takes to see a change

/** *schedule* as pages show it: it *is* on, paused, late or ended, and why. */
export function standing(schedule) {
  const { paused_at, paused_by, pause_reason, fire_at, next_at, waiting_at } = schedule;
  const late = fire_at && Date.now() - Date.parse(fire_at) > LATE_MS;
  const is = paused_at ? "paused" : late ? "late" : next_at || waiting_at ? "on" : "ended";
  const why = { paused: pause_reason || `by ${paused_by}`, late: "no scheduler has run it", on: waiting_at && "a tick waits" }[is];
  const verb = paused_at ? "resume" : "pause";
  return { ...schedule, is, [is]: true, why, verb, toggle: cap(verb) };
}

/** *tick* as pages show it: by the state of its job, if that is known, else by its outcome. */
export function shown(tick) {
  const is = (tick.outcome !== "replaced" && tick.job_state) || tick.outcome;
  return { ...tick, is, jobless: !tick.job_id };
}

/** The last *ticks*, the latest first, as a strip. */
export function drawn(ticks) {
  const cells = ticks.map(({ is, due_at }) => ({ is, tip: `${at(due_at)} · ${cap(is)}` }));
  const failed = ticks.filter(({ is }) => is === "failed").length;
  return strip(cells.reverse(), `Last ${counted(ticks.length, "tick")}: ${failed} failed`);
}
