/** A job as pages show it, whoever tells of it: a list, an event or its progress. */
import { eta, host, reasonWord } from "../core/fmt.js";

const share = (used, of) => (of ? Math.min(1, used / of) : 0);

/** How far it is: the share of what was found, or, until it has ended, of its nearest limit. */
function way({ state, ended_at, done, found, pages, bytes, elapsed_s, limits }) {
  if (ended_at) return state === "completed" && !found ? 1 : share(done, found);
  return Math.max(share(done, found), share(pages, limits?.pages), share(bytes, limits?.bytes), share(elapsed_s, limits?.duration_s));
}

const STOPPED = "Stopped";
const LIMIT = "Stopped at its ";

export const small = (reason) => reasonWord(reason).replace(/^[A-Z](?=[a-z ])/, (first) => first.toLowerCase());

/** Why it is in its state, in short: "#3 in queue", "Waiting for a free slot", "page limit". */
function reason({ state, state_reason, outcome, detail, waits_for, damaged }) {
  if (damaged) return "damaged";
  const [wait] = waits_for ?? [];
  if (wait) return wait.position ? `#${wait.position} in queue` : `Waiting for ${small(wait.reason)}`;
  if (state === "completed") return outcome?.startsWith(LIMIT) ? outcome.slice(LIMIT.length).split(":")[0] : "";
  return detail || (state_reason && state_reason !== "crawling" ? small(state_reason) : "");
}

/**
 * Return what is known of a job with *news* of it: a JobOut, the row of an event or the
 * progress of a stream. Older news change nothing. All numbers are where a row has them
 * (done, found, eta_p50_s, …), and so are the fields of its spec; title, host, reason, way,
 * eta and shown (its state, or "stopped": by a limit, before all was fetched) are to be shown.
 */
export function merged(current, news) {
  const { progress, spec, version, ...more } = news;
  const v = news.v ?? version ?? current.v;
  if (v < current.v) return current;
  if (progress) {
    const { p10_s = null, p50_s = null, p90_s = null, confidence, limit } = progress.eta ?? {};
    const ends = { eta_p10_s: p10_s, eta_p50_s: p50_s, eta_p90_s: p90_s, eta_confidence: confidence, eta_limit: limit };
    Object.assign(more, progress, ends, { found: progress.discovered, uses: progress.proxies });
  }
  Object.assign(more, spec, spec?.urls && { url: [...spec.urls, ...spec.sitemaps][0] });
  if (news.state && v > current.v) more.waits_for ??= []; // what is known of them is of before
  const job = { ...current, ...more, v, version: v, progress: undefined, spec: undefined };
  const at = host(job.url);
  return Object.assign(job, {
    title: job.name || at,
    host: job.name ? at : "",
    shown: job.outcome?.startsWith(STOPPED) ? "stopped" : job.state,
    reason: reason(job),
    why: job.waits_for?.length ? job.waits_for.map((wait) => wait.detail).join("; ") : job.detail,
    way: way(job),
    eta: eta(job.eta_p10_s, job.eta_p90_s),
  });
}

/** Draw how far it is, and how much of that failed, into a .pb of <i> and <b>: what has changed. */
export function draw(bar, job) {
  const [all, bad] = [job.way, share(job.failed, job.found)].map((part) => part.toFixed(3));
  if (bar.all !== all) bar.firstElementChild.style.transform = `scaleX(${all})`;
  if (bar.bad !== bad) bar.lastElementChild.style.transform = `scaleX(${bad})`;
  const percent = String(Math.floor(all * 100));
  if (bar.ariaValueNow !== percent) bar.ariaValueNow = percent;
  const is = job.shown ?? job.state;
  if (bar.dataset.is !== is) bar.dataset.is = is;
  Object.assign(bar, { all, bad });
}
