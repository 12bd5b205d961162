/** How a job went, over its time: pace, pages with their limit, response time, responses. */
import { $, counted, int, rate } from "../core/all.js";
import { bars, lines } from "../parts/charts.js";

const CLASSES = { "2xx": "completed", "3xx": "running", "4xx": "stopped", "5xx": "failed" };
const FAR = 5; // times what is found: a limit that is further off would press it flat
const PACE = ["delay_s", "per_host", "concurrency"];
const end = ({ at, seconds }) => Date.parse(at) + seconds * 1000;
const ms = (n) => `${int(n)} ms`;

/** What an event is called at a chart, if it is a mark. */
function mark({ name, actor, data }) {
  const changed = Object.keys(data.changed ?? {});
  if (name === "job.paused") return `paused by ${actor}`;
  if (name === "job.resumed") return `resumed by ${actor}`;
  if (name === "job.worker_lost") return "worker lost";
  if (name !== "job.edited") return null;
  if (changed.some((field) => PACE.includes(field))) return `pace changed by ${actor}`;
  return changed.some((field) => field.startsWith("limits")) ? `limits changed by ${actor}` : null;
}

/** Draw the course of *job*, with marks of its *events*; return its mean response time. */
export function charts({ points, step_s }, events, job) {
  $("#charts").hidden = !points.length;
  if (!points.length) return null;
  // where nothing ran, a line is broken: a point without values
  const idle = (point, next) => next && Date.parse(next.at) - end(point) > Math.max(2 * step_s, 10) * 1000;
  const course = points.flatMap((point, n) => (idle(point, points[n + 1]) ? [point, { at: new Date(end(point)).toISOString() }] : [point]));
  const x = course.map(({ at }) => at);
  const from = Date.parse(x[0]);
  const marks = events.map((event) => ({ at: Date.parse(event.at), name: mark(event) })).filter(({ at, name }) => name && at >= from);
  const to = Math.max(...points.map(end), ...marks.map(({ at }) => at));
  const is = job.ended_at ? "completed" : "running";
  const of = (value) => course.map((point) => (point.seconds === undefined ? null : value(point)));
  const pages = points.reduce((sum, point) => sum + point.pages, 0);
  const seconds = points.reduce((sum, point) => sum + point.seconds, 0);
  const mean = (value) => (pages ? points.reduce((sum, point) => sum + value(point) * point.pages, 0) / pages : null);

  const paces = of((point) => point.pages / (point.seconds || 1));
  const now = job.ended_at ? `${rate(pages / seconds)} on average` : `${rate(paces.findLast((pace) => pace != null))} now`;
  lines($("#rates"), { said: `Pages per second: ${now}, ${rate(Math.max(0, ...paces))} at most`, x, from, to, marks, series: [{ name: "Pages per second", is, values: paces, area: true }] });

  // at its end each step has brought what it brought
  const base = Math.max(0, job.pages - pages); // of before the course, which a retry may have cut
  let sum = base;
  const fetched = points.map((point) => (sum += point.pages));
  let most = 0;
  const discovered = points.map((point, n) => (most = Math.max(most, fetched[n] + point.waiting)));
  discovered[discovered.length - 1] = Math.max(most, job.found); // points do not count URLs without a response
  const limits = job.limits.pages != null && job.limits.pages <= FAR * Math.max(...discovered) ? [{ at: job.limits.pages, name: `page limit ${int(job.limits.pages)}` }] : [];
  lines($("#course"), {
    said: `Pages and found URLs: ${counted(fetched.at(-1) ?? 0, "page")}, ${int(points.at(-1)?.waiting ?? 0)} in the queue`,
    x: [...points.slice(0, 1).map(({ at }) => at), ...points.map((point) => new Date(end(point)).toISOString())],
    from, to, limits, say: int,
    series: [
      { name: "Pages", is, values: [base, ...fetched], area: true },
      { name: "Found", is: "waiting", values: [null, ...discovered], dash: true },
    ],
  });

  const waits = of((point) => (point.pages ? point.latency_ms : null));
  lines($("#latency"), { said: `Response time: ${ms(mean((point) => point.latency_ms))} on average`, x, from, to, say: ms, series: [{ name: "Mean", is, values: waits }] });

  const classes = Object.keys(CLASSES).filter((word) => points.some(({ statuses }) => statuses[word]));
  const counts = (word) => `${int(points.reduce((all, { statuses }) => all + (statuses[word] ?? 0), 0))} ${word}`;
  bars($("#responses"), {
    said: `Responses: ${classes.map(counts).join(", ")}`,
    x: points.map(({ at }) => at), step: step_s * 1000, from, to, say: int,
    series: classes.map((word) => ({ name: word, is: CLASSES[word], values: points.map(({ statuses }) => statuses[word] ?? 0) })),
  });
  return mean((point) => point.latency_ms);
}
