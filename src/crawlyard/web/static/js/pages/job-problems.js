/** The problems of a job, in groups by what to do about them. What was skipped on purpose is none. */
import { $, $$, copy, h, int, lock } from "../core/all.js";
import { thing as job } from "../parts/told.js";

const is = (...kinds) => ({ kind }) => kinds.includes(kind);
const answered = (...statuses) => ({ kind, status }) => kind === "http_4xx" && statuses.includes(status);

/** The first that fits a kind of failures, with its status. */
const GROUPS = [
  { title: "Not found", fits: answered(404, 410), todo: "Fix the links that lead there, or exclude these URLs.", acts: ["exclude", "retry"] },
  { title: "Refused", fits: answered(401, 403, 407, 451), todo: "The site does not want these fetched: go slower, or send what it asks for in headers.", acts: ["pace", "retry", "exclude"] },
  { title: "Too many requests", fits: is("rate_limited"), todo: "Go slower at this host, then retry.", acts: ["pace", "retry"] },
  { title: "Server errors", fits: is("http_5xx"), todo: "Often gone later: retry.", acts: ["retry", "exclude"] },
  { title: "Timed out", fits: is("timeout"), todo: "Often gone later: retry.", acts: ["retry", "exclude"] },
  { title: "Host not reached", fits: is("dns", "connect", "tls", "protocol"), todo: "Check the address, or retry once the host is back.", acts: ["retry", "exclude"] },
  { title: "No proxy connects", fits: is("proxy"), todo: "Check the proxies of the job, then retry.", acts: ["retry"] },
  { title: "robots.txt not readable", fits: is("robots"), todo: "Without it nothing is fetched there: retry once the host answers.", acts: ["retry"] },
  { title: "Address not allowed", fits: is("blocked_address"), todo: "Private addresses and blocked hosts are refused: an admin can allow them.", acts: ["exclude"] },
  { title: "Redirects that lead nowhere", fits: is("bad_redirect"), todo: "Fix the redirects, or exclude these URLs.", acts: ["exclude"] },
  { title: "Other problems", fits: () => true, todo: "Open them to see why.", acts: ["retry", "exclude"] },
];

/** Return *items*, as GET /jobs/{job}/errors tells statuses apart, by what to do; *linked*: the pages that link to a URL. */
export function grouped(items, linked) {
  const groups = new Map();
  for (const item of items) {
    const group = GROUPS.find(({ fits }) => fits(item));
    groups.set(group, [...(groups.get(group) ?? []), item]);
  }
  const sum = (some) => some.reduce((all, { count }) => all + count, 0);
  return [...groups]
    .map(([{ title, todo, acts }, some]) => ({
      title: `${title}${words(some)}`,
      todo,
      acts,
      count: sum(some),
      kinds: [...new Set(some.map(({ kind }) => kind))],
      samples: some.flatMap(({ samples }) => samples.map((url) => [url, linked[url] ?? []])),
    }))
    .sort((a, b) => b.count - a.count);
}

function words(some) {
  const said = [...new Set(some.map(({ kind, status }) => status ?? (some.length > 1 ? kind : null)))].filter(Boolean);
  return said.length ? ` (${said.join(", ")})` : "";
}

const button = (text, data, attributes) => h("button.btn.sm", { type: "button", data, ...attributes }, text);

const ACTS = {
  render: () => h("a.btn.sm", { href: `/jobs/new?job=${encodeURIComponent(job.id)}&render=auto`, data: { needs: "jobs:write" } }, "Render them…"),
  retry: ({ kinds }) => job.ended_at && button("Retry", { do: "POST /jobs/{job}/retry", body: JSON.stringify({ scope: "failed", kinds }), said: "These wait again", needs: "jobs:write" }),
  pace: () => !job.ended_at && button("Go slower…", { open: "pace", needs: "jobs:write" }),
  exclude: ({ samples: [first] }) => !job.ended_at && first && button("Exclude…", { open: "exclude", pattern: first[0], needs: "jobs:write" }),
};

function sample([url, from]) {
  if (!from.length) return h("li.wrap", {}, url);
  const links = from.map((page) => h("li.wrap", {}, page));
  return h("li", {}, h("details", {}, h("summary.wrap", {}, `${url} · linked from ${int(from.length)}${from.length === 5 ? " or more" : ""}`), h("ul", {}, ...links)));
}

const here = `/jobs/${encodeURIComponent(document.body.dataset.job)}`;

function drawn(group, brief) {
  const el = copy("problem", group);
  $("ul", el).replaceChildren(...group.samples.slice(0, brief ? 1 : 5).map(sample));
  const link = group.href ?? `${here}/pages?kind=${group.kinds.join(",")}`;
  const acts = group.acts.map((name) => ACTS[name](group)).filter(Boolean);
  $(".row", el).replaceChildren(...acts, h("a.btn.sm.ghost", { href: link }, "Show pages"));
  return el;
}

let last;
/** Show the problems that *items* tell of, and pages that need scripts, wherever they are shown. */
export function problems(items, linked) {
  const groups = grouped(items, linked);
  const scripts = job.usage?.needs_scripts;
  if (scripts)
    groups.push({
      title: "Need scripts",
      todo: `Their text is empty or partial. ${job.renders ? "A new crawl renders them." : $("#no-browser").content.textContent}`,
      count: scripts,
      acts: job.renders ? ["render"] : [],
      samples: [],
      href: `${here}/pages?needs_scripts=true`,
    });
  const now = JSON.stringify([groups, job.ended_at]);
  if (now === last) return; // who has opened one, or is about to click, is not disturbed
  last = now;
  for (const el of $$("[data-problems]")) {
    const most = Number(el.dataset.problems) || groups.length;
    el.replaceChildren(...groups.slice(0, most).map((group) => drawn(group, el.dataset.problems)));
    el.nextElementSibling.hidden = groups.length > 0;
    lock(el);
  }
}
