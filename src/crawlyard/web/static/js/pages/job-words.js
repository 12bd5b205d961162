/** Texts of the job header: progress, its reason, and the cost of the rest. */
import { small } from "../parts/job.js";
import { at, brief, bytes, cap, counted, dur, int, pct, stateWord } from "../core/all.js";

const LIMITS = {
  pages: { used: "pages", name: "page", say: (n) => counted(n, "page") },
  duration_s: { used: "elapsed_s", name: "time", say: dur },
  bytes: { used: "bytes", name: "data", say: bytes },
  errors: { used: "failed", name: "error", say: (n) => counted(n, "failed URL") },
  render_s: { used: "render_s", name: "rendering", say: (s) => `${dur(s)} of rendering` },
};
const FROM = {
  job: "set by this job",
  robots: "set by robots.txt",
  rule: "set for this host by an admin",
  others: "set by another job",
};
const BOUND = 0.5; // of the rate that the delays allow: from there on they are what slows it down

/** Estimated cost of *urls* more at the observed pace: [seconds, bytes]; null without observations. */
function cost({ done, elapsed_s, bytes: size }, urls) {
  return done && elapsed_s ? [(urls * elapsed_s) / done, (urls * size) / done] : null;
}

/** The same in words: "About 45m and 230 MB". */
export function costs(job, urls) {
  const estimate = cost(job, urls);
  return estimate && `about ${dur(estimate[0])} and ${bytes(estimate[1])}`;
}

/** The delay of a *host*, and what sets it. */
export function delay({ delay_s, delay_from }, job) {
  if (!delay_s) return "no delay between requests";
  const other = delay_from === "job" && delay_s > job.delay_s;
  return `every ${brief(delay_s)}, ${other ? FROM.others : FROM[delay_from]}`;
}

/** Why and until when a *host* gets no requests; empty if it does. */
export function holdReason({ state, held_until, refusals, rule }, now = Date.now()) {
  if (state !== "open") return [`is ${state} by an admin`, rule?.note].filter(Boolean).join(": ");
  if (!(Date.parse(held_until) > now)) return "";
  return `waits until ${at(held_until)}, backoff after ${counted(refusals || 1, "refusal")} (429 or 503)`;
}

/** What limits the pace of the job. */
function slow({ rate, waits_for, why, remark, eta_confidence, eta_limit, eta_unknown, ...job }, hosts) {
  if (waits_for.length) return cap(why);
  const busy = hosts.filter(({ waiting, in_flight }) => waiting || in_flight);
  const shut = busy.filter((host) => holdReason(host));
  if (shut.length > 1) return `${shut.length} hosts are on hold: see Pace.`;
  if (shut.length) return `${shut[0].host} ${holdReason(shut[0])}.`;
  if (remark?.startsWith("Held back")) return `${remark}.`; // no proxy can be used
  const allowed = busy.reduce((sum, { delay_s }) => sum + (delay_s ? 1 / delay_s : Infinity), 0);
  if (busy.length && rate >= BOUND * allowed) {
    const which = busy.length > 1 ? `${busy.length} hosts: see Pace` : `${busy[0].host}: ${delay(busy[0], job)}`;
    return `Its rate is limited by the delay at ${which}.`;
  }
  if (eta_unknown) return cap(eta_unknown);
  if (eta_limit) return `It will stop at its ${eta_limit === "duration" ? "time" : eta_limit.replace(/s$/, "")} limit.`;
  return eta_confidence === "high" ? "" : "Still finding new URLs, so the time left is a range.";
}

/** The limit that is nearest. */
function nearest({ limits, ...job }) {
  const [first] = Object.entries(LIMITS)
    .filter(([name]) => limits[name])
    .map(([name, { used, say }]) => [(job[used] ?? job.usage[used]) / limits[name], say(limits[name])])
    .sort(([a], [b]) => b - a);
  return first ? `Nearest limit: ${first[1]}, ${pct(first[0])} used` : "No limit";
}

/** When it will end. */
export function ends({ limits }) {
  const texts = Object.keys(LIMITS).filter((name) => limits[name]).map((name) => LIMITS[name].say(limits[name]));
  return ["Ends when the queue is empty", texts.length && `or after ${texts.join(" or ")}`].filter(Boolean).join(", ");
}

/** Name in the spec of the limit that ended a job, by state reason. */
const ENDING = { limit_pages: "pages", limit_bytes: "bytes", limit_duration: "duration_s", limit_errors: "errors", limit_render: "render_s" };

function stopping({ state_reason, limits, detail }, remaining) {
  const rest = `${counted(remaining, "URL")} in the queue ${remaining === 1 ? "was" : "were"} never fetched.`;
  const name = ENDING[state_reason];
  if (!name) return [detail, rest].filter(Boolean).join(" · "); // by a user
  const { name: called, say } = LIMITS[name];
  const most = limits[name] ? ` of ${say(limits[name])}` : ""; // it may have been raised since
  return `It reached its ${called} limit${most}. ${rest}`;
}

const LEADS = {
  pending: ({ waits_for }) => (waits_for[0]?.position === 1 ? "Next in the queue" : "Waiting to start"),
  paused: (_, way) => `Paused at ${way}`,
  cancelled: (_, way) => `Cancelled at ${way}`,
  failed: ({ state_reason }, way) => `Failed: ${small(state_reason)}, ${way}`,
  completed: ({ done, found, failed }, way) => {
    if (done < found) return way;
    const failures = failed ? `, ${int(failed)} failed` : "";
    return `All ${counted(found, "URL")} are done${failures}`;
  },
};

const WHYS = {
  pending: ({ why, detail }) => cap(why || detail || ""),
  paused: ({ reason, stops_at }) => [cap(reason || ""), stops_at && `It is cancelled automatically in ${dur((Date.parse(stops_at) - Date.now()) / 1000)} unless someone resumes it.`].filter((text) => text && text !== "–").join(". "),
  cancelled: ({ detail }) => detail ?? "",
  failed: ({ detail }) => detail ?? "",
  completed: () => "",
};

/** Header of *job*; *hosts* are those it crawls now. */
export function headline(job, hosts = []) {
  const { state, shown, done, found, failed, ended_at, eta_p90_s } = job;
  const remaining = Math.max(0, found - done);
  const way = `${int(done)} of ${int(found)} found`;
  const runs = state === "running";
  const lead = shown === "stopped" || runs ? way : LEADS[state](job, way);
  const flight = hosts.reduce((sum, { in_flight }) => sum + in_flight, 0);
  const price = ended_at && remaining ? costs(job, remaining) : "";
  return {
    state: shown === "stopped" ? job.outcome.split(":")[0] : stateWord(state),
    lead,
    why: shown === "stopped" ? stopping(job, remaining) : runs ? slow(job, hosts) : WHYS[state](job),
    left: runs && job.eta_p10_s != null ? `${job.eta} left` : "",
    by: eta_p90_s == null ? "" : `likely done by ${at(Date.now() + eta_p90_s * 1000)}`,
    ok: `${int(done)} done`,
    failed: `${int(failed)} of them failed`,
    rest: ended_at ? `${int(remaining)} never fetched` : `${int(remaining)} in the queue`,
    queue: ended_at ? "Never fetched" : "Queue",
    limit: price ? `${cap(price)} more to fetch the rest` : ended_at ? "" : nearest(job),
    rate: runs ? job.rate : done / job.elapsed_s || 0,
    ran: ended_at ? "Ran for" : "Running for",
    flight,
    slots: hosts.reduce((sum, { at_once }) => sum + at_once, 0),
    latency: ended_at ? job.latency_ms : null,
    pages: int(job.pages),
    found: int(found),
    priority: job.priority !== "normal",
    retry: state === "failed" && job.again,
    keep: `Its ${counted(job.pages, "page")} can be read and downloaded. ${counted(remaining, "URL")} in the queue ${remaining === 1 ? "is" : "are"} not fetched unless you resume it.`,
    discard: `Its ${counted(job.pages, "page")} and all data on ${counted(found, "URL")} are permanently deleted.`,
  };
}

/** Estimated cost of raising the limits to *limits*. */
export function raised(job, limits) {
  const remaining = Math.max(0, job.found - job.done);
  const all = `${counted(remaining, "URL")} in the queue: ${costs(job, remaining) ?? "unknown time"} to fetch them at the pace seen; more may be found.`;
  const room = limits.pages == null ? null : limits.pages - job.pages;
  if (!(room > 0) || room >= remaining) return all;
  return `${all} ${counted(room, "page")} more: ${costs(job, room)}.`;
}
