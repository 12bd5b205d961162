/** What needs somebody: each kind of notice in words, and what is done about it right there. */
import { $, $$, act, ask, cap, complain, copy, counted, dur, get, may, patch, post, query, remove, segment, toast } from "../core/all.js";
import { size, span } from "../core/form.js";
import { keyed } from "./keyed.js";

const again = ({ id }) => post(`/jobs/${id}/cancel`); // undoes a retry

/**
 * By kind: its state, its sentence about a *name*, and its fix. `verb` does `fix`, or what the notice says helps; `go` leads
 * to `where`, as does the sentence; of a kind that is `helped`, only if the notice says what helps. `needs` is what one must be allowed to do. If a fix makes something new of it, as the retry of a
 * job does, what was is `over`: it is dismissed. Where one notice tells of many jobs at a host, `many` is its sentence.
 */
const KINDS = {
  no_worker: { is: "waiting", title: () => "Jobs are waiting, and no worker is running", go: "Workers and hosts", where: () => "workers" },
  no_worker_tag: { is: "waiting", title: (name) => `${name} waits for a worker`, verb: "Change the tag…", fix: retag },
  disk_full: { is: "stopped", title: () => "The disk is nearly full", go: "Retention", where: () => "settings/system" },
  job_damaged: { is: "failed", title: (name) => `${name} cannot be read`, verb: "Delete…", fix: drop },
  schedule_overdue: { is: "late", title: (name) => `${name} is overdue`, verb: "Run now", needs: "schedules:write", said: "Running" },
  schedule_paused: { is: "paused", title: (name) => `${name} was paused`, verb: "Resume", needs: "schedules:write", said: "Resumed" },
  runs_failing: { is: "failed", title: (name) => `${name} keeps failing`, verb: "Retry", said: "Retrying", undo: again },
  job_failed: { is: "failed", title: (name) => `${name} failed`, many: (n, name) => `${n} crawls of ${name} failed`, verb: "Retry", said: "Retrying", undo: again, over: true },
  job_paused: { is: "paused", title: (name) => `${name} is paused`, verb: "Resume", said: "Resumed", undo: ({ id }) => post(`/jobs/${id}/pause`) },
  logged_out: { is: "paused", title: (name) => `${name} is logged out`, go: "Log in again", where: () => "settings/sessions", verb: "Resume", said: "Resumed", undo: ({ id }) => post(`/jobs/${id}/pause`) },
  host_refusing: { is: "late", title: (name) => `${name} refuses requests`, verb: "Slow down…", fix: slow },
  webhook_off: { is: "late", title: (name) => `Webhook ${name} was switched off`, verb: "Switch on", needs: "webhooks:write", said: "Switched on", where: () => "settings/webhooks" },
  webhook_failing: { is: "late", title: (name) => `Webhook ${name} fails`, verb: "Send a test", needs: "webhooks:write", said: "Test sent to", where: () => "settings/webhooks" },
  job_stopped: { is: "stopped", title: (name) => `${name} stopped early`, many: (n, name) => `${n} crawls of ${name} stopped early`, verb: "Raise and continue…", fix: raise },
  needs_scripts: { is: "stopped", title: (name) => `${name}: some pages need scripts`, many: (n, name) => `${n} crawls of ${name}: some pages need scripts`, helped: true, go: "Render them…", where: ({ job_id: id }) => `jobs/new?job=${id}&render=auto` },
};
const ICONS = { waiting: "waiting", failed: "failed", stopped: "stopped", paused: "paused", late: "warning" };

/** *notice* as its row tells it. */
function view(notice) {
  const { kind, subject, job_id: job, jobs, help } = notice;
  const { is = "late", title = () => cap(kind), many, verb, helped, needs = "jobs:write", ...leads } = KINDS[kind] ?? {};
  if (jobs > 1 && many)
    return { ...notice, tone: is, icon: ICONS[is], title: many(jobs, subject.name), verb: "", go: "Show the jobs", where: `jobs${query({ q: "host:" + subject.id })}` };
  const { go, where } = helped && !help ? {} : leads;
  const there = subject?.type === "schedule" ? `schedules/${segment(subject.id)}` : job ? `jobs/${segment(job)}` : "workers";
  return {
    ...notice,
    tone: is,
    icon: ICONS[is],
    title: title(subject?.name || (subject?.type === "job" ? "Unnamed job" : subject?.id)),
    verb: help && may(needs) ? verb : "",
    go,
    where: where ? where(notice) : there,
  };
}

const of = ({ help }) => help.path.slice("/api/v1".length);

/** Ask for a value; resolves to what was typed, or null. */
async function value(title, verb, label, note, was) {
  const fields = copy("ask-value", { label, note });
  $("input", fields).value = was;
  const answers = await ask({ title, verb, fields });
  return answers && String(answers.value ?? "");
}

async function retag(notice) {
  const { spec, version } = await get(`/jobs/${notice.job_id}`);
  const tags = await value(`${notice.subject.name}: worker tags`, "Save", "Only workers with these tags", "Separated by spaces; empty: any worker", spec.worker_tags.join(" "));
  if (tags === null) return;
  await patch(of(notice), { worker_tags: tags.split(/[\s,]+/).filter(Boolean) }, version);
  return { said: "Saved", undo: () => patch(of(notice), { worker_tags: spec.worker_tags }, "*") };
}

async function slow(notice) {
  const { spec, version } = await get(`/jobs/${notice.job_id}`);
  const delay = await value(`Slow down at ${notice.subject.name}`, "Save", "Delay between requests", "Such as 2s", `${Math.max(1, spec.delay_s * 2)}s`);
  if (delay === null) return;
  await patch(of(notice), { delay_s: span(delay) }, version);
  return { said: "Slowed down", undo: () => patch(of(notice), { delay_s: spec.delay_s }, "*") };
}

async function drop(notice) {
  const sure = await ask({ title: `Delete ${notice.subject.name || "the job"}?`, text: "This job cannot run. Its pages are deleted with it.", verb: "Delete", bad: true });
  if (!sure) return;
  await remove(of(notice), "*");
  return { said: "Deleted" };
}

const LIMITS = { limit_pages: ["pages", "Page limit", Number, String], limit_bytes: ["bytes", "Data limit", size, (n) => `${Math.ceil(n / 1e6)} MB`], limit_duration: ["duration_s", "Time limit", span, (s) => `${Math.ceil(s / 60)}m`], limit_errors: ["errors", "Error limit", Number, String], limit_render: ["render_s", "Rendering limit", span, (s) => `${Math.ceil(s / 60)}m`] };

/** Raise the limit that stopped a job, having said what that costs, and let it go on. */
async function raise(notice) {
  const { state_reason: reason, spec, usage, version } = await get(`/jobs/${notice.job_id}`);
  const [field, label, parse, format] = LIMITS[reason];
  const remaining = usage.discovered - usage.done;
  const share = remaining / Math.max(1, usage.done); // as much again as this part of what was done
  const suggestion = (spec.limits[field] ?? 0) + Math.ceil((field === "errors" ? usage.errors : usage[field]) * share);
  const note = `${counted(remaining, "URL was", "URLs were")} never fetched: about ${dur(usage.duration_s * share)} more at the pace so far`;
  const limit = await value(`Raise the limit of ${notice.subject.name || "this job"} and continue`, "Raise and continue", label, note, format(suggestion));
  if (limit === null) return;
  await patch(of(notice), { limits: { [field]: limit === "" ? null : parse(limit) } }, version);
  await post(`/jobs/${notice.job_id}/resume`);
  return { said: `Continues: ${counted(remaining, "URL")} in the queue`, undo: () => post(`/jobs/${notice.job_id}/cancel`) };
}

/** Show notices in *el*; *changed()* is called when one was dealt with. Returns what takes them. */
export function attention(el, changed) {
  const undoing = (work) => () => work().then(changed);

  async function fix(button, notice) {
    const { fix: own, said, undo, over } = KINDS[notice.kind];
    const name = { notice: notice.id };
    const done = await act(button, async () => {
      if (own) return (await own(notice)) ?? null;
      const result = await post(of(notice), {}, "*");
      if (over) await post("/attention/dismiss", name);
      const back = () => undo(result).then(() => over && post("/attention/restore", name));
      return { said: `${said} ${notice.subject.name}`, undo: undo && result?.id && back };
    });
    if (!done) return;
    toast(done.said, { undo: done.undo && undoing(done.undo) });
    changed();
  }

  async function dismiss(button, { id, title }) {
    const name = { notice: id };
    const dismissed = await act(button, () => post("/attention/dismiss", name).then(() => true));
    if (dismissed) toast(`Dismissed: ${title}`, { undo: undoing(() => post("/attention/restore", name)) });
    changed();
  }

  const show = keyed(el, "attention-row", ({ id }) => id, {
    dress: (li, { where }) => $$("a", li).forEach((link) => { link.href = `/${where}`; }),
    begun(li, notice) {
      $(".fix", li).onclick = ({ currentTarget }) => fix(currentTarget, notice());
      $(".ib", li).onclick = ({ currentTarget }) => dismiss(currentTarget, notice());
    },
  });
  return (notices) => show(notices.map(view));
}
