/** The problems of a job, in groups by what to do about them. What was skipped on purpose is none. */
import { $, $$, copy, h, int, lock } from "../core/all.js";
import { grouped } from "../parts/problems.js";
import { thing as job } from "../parts/told.js";

const button = (text, data, attributes) => h("button.btn.sm", { type: "button", data, ...attributes }, text);

const ACTS = {
  render: () => h("a.btn.sm", { href: `/jobs/new?job=${encodeURIComponent(job.id)}&render=auto`, data: { needs: "jobs:write" } }, "Render them…"),
  retry: ({ kinds }) => job.reruns && button("Retry", { do: "POST /jobs/{job}/retry", body: JSON.stringify({ scope: "failed", kinds }), said: "These wait again", needs: "jobs:write" }),
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
  const now = JSON.stringify([groups, job.ended_at, job.reruns]);
  if (now === last) return; // who has opened one, or is about to click, is not disturbed
  last = now;
  for (const el of $$("[data-problems]")) {
    const most = Number(el.dataset.problems) || groups.length;
    el.replaceChildren(...groups.slice(0, most).map((group) => drawn(group, el.dataset.problems)));
    el.nextElementSibling.hidden = groups.length > 0;
    lock(el);
  }
}
