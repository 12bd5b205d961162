/** The crawls that run now: the first to end first, at most eight, as they go on. */
import { $, act, get, load, on, post, segment, toast, user } from "../core/all.js";
import { spark } from "./charts.js";
import { draw, merged, small } from "./job.js";
import { keyed } from "./keyed.js";

const MOST = 8;
const SAMPLES = 24; // of a spark
const SAMPLE_MS = 1000;
const SORT_MS = 5000; // rows that change their places with each message cannot be clicked

const jobsById = new Map(); // all that run, by id
const paces = new Map(); // their rates, the latest last
let first = []; // ids of those that are shown

/** Show them in *el*, and call *changed(shown, pagesPerSecond)* whenever they have changed. */
export function running(el, changed) {
  const show = keyed(el, "running-row", ({ id }) => id, { dress, begun });

  function paint() {
    const jobs = first.map((id) => jobsById.get(id)).filter((job) => job?.title);
    show(jobs.map(view));
    changed(jobs.length, [...jobsById.values()].reduce((sum, job) => sum + (job.rate ?? 0), 0));
  }

  /** Choose those that end first; of whom only a number is known, ask for the rest. */
  function sort() {
    const remainingS = ({ eta_p50_s: s }) => s ?? Infinity;
    const jobs = [...jobsById.values()].sort((a, b) => remainingS(a) - remainingS(b) || (a.id < b.id ? -1 : 1));
    first = jobs.slice(0, MOST).map(({ id }) => id);
    for (const id of first) {
      if (jobsById.get(id).url === undefined) get(`/jobs/${segment(id)}`).then(take).then(paint).catch(() => jobsById.delete(id));
      if (!paces.has(id)) begin(id);
    }
    paint();
  }

  /** Begin the spark of a job with how it went so far. */
  async function begin(id) {
    const pace = [];
    paces.set(id, pace);
    const { points } = await get(`/jobs/${segment(id)}/metrics`).catch(() => ({ points: [] }));
    pace.unshift(...points.slice(-SAMPLES).map(({ pages, seconds }) => pages / (seconds || 1)));
  }

  on("progress", (jobs) => {
    const fresh = jobs.some(({ id }) => !jobsById.has(id));
    jobs.forEach(take);
    fresh ? sort() : paint();
  });
  on("job.state job.deleted", ({ job_id: id, to, job }) => {
    if (to === "running" && job) take(job);
    else {
      jobsById.delete(id);
      paces.delete(id);
    }
    sort();
  });
  setInterval(() => el.matches(":hover, :focus-within") || sort(), SORT_MS);
  return load(async () => {
    // the page preloads this very address
    const { items } = await get("/jobs?state=running&limit=50&fields=id,version,owner,state,allowed_actions,url,progress,spec.name");
    jobsById.clear();
    items.forEach(take);
    sort();
  });
}

function take(news) {
  if (news.state && news.state !== "running") return jobsById.delete(news.id);
  const job = merged(jobsById.get(news.id) ?? {}, news);
  jobsById.set(news.id, job.url === undefined ? { ...job, title: "" } : job);
}

/** A job as its row tells it. Its bar is of what was found: a limit is no way to go. */
function view(job) {
  const way = job.found ? Math.min(1, job.done / job.found) : 0;
  return {
    ...job,
    way,
    pauses: job.allowed_actions?.includes("pause"),
    percent: Math.floor(way * 100),
    about: [job.host, job.owner !== user.id && job.owner].filter(Boolean).join(" · "),
    why: job.remark || job.eta_unknown,
    left: job.eta_p50_s == null ? "" : "left",
  };
}

function dress(li, job) {
  const bar = $(".pb", li);
  draw(bar, job);
  bar.lastElementChild.style.translate = `${(job.way - bar.bad) * 100}%`; // what failed stands at the end
  const { percent } = job;
  if (li.percent !== percent) $(".ring .v", li).setAttribute("stroke-dasharray", `${percent} 100`);
  li.percent = percent;
  const pace = paces.get(job.id) ?? [];
  if (Date.now() - (li.sampled ?? 0) < SAMPLE_MS) return;
  li.sampled = Date.now();
  pace.push(job.rate ?? 0);
  pace.splice(0, pace.length - SAMPLES);
  spark($(".spark", li), pace);
}

function begun(li, job) {
  const button = $("button", li);
  button.onclick = async () => {
    const { id, title } = job();
    const path = `/jobs/${segment(id)}`;
    const paused = await act(button, () => post(`${path}/pause`));
    if (paused) toast(`Paused ${title}`, { undo: () => post(`${path}/resume`) });
  };
}

/** Say for what the first jobs of the queue wait: "11 for a free slot, 1 for a worker with its tags (gpu)". */
export function reasons({ items, has_more: more }) {
  const counts = {};
  for (const { waits_for: waits, spec } of items) {
    const reason = waits[0]?.reason ?? "queue";
    const word = small(reason) + (reason === "worker_tags" ? ` (${spec.worker_tags.join(", ")})` : "");
    counts[word] = (counts[word] ?? 0) + 1;
  }
  const each = Object.entries(counts);
  const reasons = each.map(([word, n]) => (each.length > 1 ? `${n} for ${word}` : `for ${word}`)).join(", ");
  return more ? `of the first ${items.length}: ${reasons}` : reasons;
}
