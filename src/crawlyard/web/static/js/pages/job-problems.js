/** The problems of a job, in groups by what to do about them. What was skipped on purpose is none. */
import { $, $$, arrange, counted, h, lock } from "../core/all.js";
import { keyed } from "../parts/keyed.js";
import { grouped } from "../parts/problems.js";
import { thing as job } from "../parts/declarative.js";

/** What can be done about a group: the words of its button, when there is one, and its data. */
const ACTS = {
  render: { words: "Render them…", href: `/jobs/new?job=${encodeURIComponent(document.body.dataset.job)}&render=auto` },
  retry: {
    words: "Retry",
    when: () => job.reruns,
    data: ({ kinds }) => ({ do: "POST /jobs/{job}/retry", body: JSON.stringify({ scope: "failed", kinds }), said: "These URLs are queued again" }),
  },
  pace: { words: "Go slower…", when: () => !job.ended_at, data: () => ({ open: "pace" }) },
  exclude: {
    words: "Exclude…",
    when: ({ samples }) => !job.ended_at && samples.length,
    data: ({ samples: [[url]] }) => ({ open: "exclude", pattern: url }),
  },
};

function button({ words, href }) {
  const attributes = href ? { href } : { type: "button" };
  return h(href ? "a.btn.sm" : "button.btn.sm", { ...attributes, data: { needs: "jobs:write" } }, words);
}

function sample([url, from]) {
  if (!from.length) return h("li.wrap", {}, url);
  const links = from.map((page) => h("li.wrap", {}, page));
  return h("li", {}, h("details", {}, h("summary.wrap", {}, `${url} · linked from ${from.length === 5 ? "5+ pages" : counted(from.length, "page")}`), h("ul", {}, ...links)));
}

const here = `/jobs/${encodeURIComponent(document.body.dataset.job)}`;

/** Show the samples and the buttons of *group*; buttons that stay are the same elements, so that a press becomes a click. */
function dress(el, group) {
  const samples = group.samples.slice(0, group.brief ? 1 : 5);
  const text = JSON.stringify(samples);
  if (el.text !== text) $("ul", el).replaceChildren(...samples.map(sample)); // an open one stays open
  el.text = text;
  el.buttons ??= { pages: h("a.btn.sm.ghost", {}, "Show pages") };
  const actions = group.acts.filter((name) => ACTS[name].when?.(group) ?? true);
  for (const name of actions) Object.assign((el.buttons[name] ??= button(ACTS[name])).dataset, ACTS[name].data?.(group));
  el.buttons.pages.href = group.href ?? `${here}/pages?kind=${group.kinds.join(",")}`;
  arrange($(".row", el), [...actions, "pages"].map((name) => el.buttons[name]));
  lock(el);
}

const lists = $$("[data-problems]").map((el) => {
  const most = Number(el.dataset.problems) || Infinity;
  const show = keyed(el, "problem", ({ key }) => key, { dress });
  return (groups) => {
    show(groups.slice(0, most).map((group) => ({ ...group, brief: most < Infinity })));
    el.nextElementSibling.hidden = groups.length > 0;
  };
});

/** Show the problems that *items* tell of, and pages that need scripts, wherever they are shown. */
export function problems(items, linked) {
  const groups = grouped(items, linked);
  const scripts = job.usage?.needs_scripts;
  if (scripts)
    groups.push({
      key: "scripts",
      title: "Need scripts",
      todo: `Their text is empty or partial. ${job.renders ? "A new crawl renders them." : $("#no-browser").content.textContent}`,
      count: scripts,
      acts: job.renders ? ["render"] : [],
      samples: [],
      href: `${here}/pages?needs_scripts=true`,
    });
  for (const show of lists) show(groups);
}
