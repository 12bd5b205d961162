/** Search of the pages of all jobs by words, host, status and type. */
import { $, $$, complain, counted, errorWord, get, int, later, load, query, write } from "../core/all.js";
import { read, write as put } from "../core/form.js";
import { Table } from "../parts/table.js";

const LIMIT = 50; // pages that are shown at once
const ANSWERS = 25; // answers of a page-by-page search before it waits for the user

const root = $("#results");
const form = $("form", root);
const [stop, more, progress] = ["#stop", "#further", "#progress"].map((id) => $(id));
const table = new Table({
  root,
  row: "found",
  view: (page) => ({
    ...page,
    shown: page.title || page.url,
    excerpt: plain(page.excerpt),
    said: page.status ? String(page.status) : errorWord(page.error?.kind ?? "error"),
    is: page.status >= 200 && page.status < 400 ? "" : "failed",
    of: page.job_name || `…${page.job_id.slice(-8)}`,
  }),
});

let search = { turn: 0 };

/** An excerpt without Markdown syntax. */
const plain = (text) =>
  text
    ?.replace(/^(…?)[^\s[]*\]\([^)]*\)\S*\s/, "$1") // the end of a link whose text was cut off
    .replace(/\]\([^)]*…$/, "]()…") // a link whose URL was cut off
    .replace(/!?\[([^\]]*)\]\([^)]*\)?/g, "$1")
    .replace(/\[([^\]]*)$/, "$1")
    .replace(/^(…?)-\s/, "$1")
    .replace(/\s-\s/g, " · ") // the items of a list
    .replace(/```\w*|`/g, "")
    .replace(/(^|\s)#{1,6}\s/g, "$1")
    .replace(/\\([_*[\]])/g, "$1")
    .replaceAll("<br>", " ")
    .replace(/[\s,·-]+…$/, "…");

const WAYS = {
  off: () => "The search index is off, so pages are searched one by one.",
  undecided: () => "These words are too short or too common for the index, so pages are searched one by one.",
  behind: (n) => `About ${counted(n, "page")} ${n === 1 ? "is" : "are"} not indexed yet and searched one by one.`,
};

/** Show the state of the search, and the buttons that apply. */
function tell({ found, looked, cursor, answer, running }) {
  const { stored, cut_short, index, unindexed } = answer.searched;
  const matches = counted(found.length, "match", "matches");
  const how = stored == null ? counted(looked, "page") : `${int(looked)} of ${counted(Math.max(stored, looked), "page")}`;
  const ended = found.length ? (cursor ? `${int(found.length)} shown, newest first` : counted(found.length, "page")) : "";
  write($("#looked"), cut_short ? `Searched ${how}, ${matches}${running ? " so far" : ""}` : ended);
  stop.hidden = !running;
  more.hidden = running || !cursor;
  write(more, cut_short ? "Keep searching" : "Show more");
  progress.toggleAttribute("hidden", !(cut_short && stored));
  if (stored) $("rect", progress).setAttribute("width", (100 * Math.min(1, looked / stored)).toFixed(2));
  const way = (cut_short || index === "behind") && WAYS[index];
  $("#index").hidden = !way;
  if (way) write($("#index"), way(unindexed));
  const none = !found.length && !cursor;
  const filtered = Object.values(read(form)).some(Boolean);
  $("#none").hidden = !(none && filtered);
  $("#first").hidden = !(none && !filtered);
  if (none && filtered) write($("#none p"), read(form).q ? "All pages were searched. Try fewer words, or a part of one." : "All pages were searched.");
}

/** Fetch more matches until there are enough, all pages are searched or the search is stopped. */
async function go(wanted_page) {
  const enough = wanted_page.found.length + LIMIT;
  wanted_page.running = true;
  for (let n = 0; wanted_page.running && search === wanted_page; n++) {
    const answer = await get(`/pages${query({ limit: enough - wanted_page.found.length, cursor: wanted_page.cursor, ...wanted_page.asked })}`);
    if (search !== wanted_page) return;
    wanted_page.found = [...wanted_page.found, ...answer.items];
    wanted_page.cursor = answer.next_cursor;
    wanted_page.looked += answer.searched.pages;
    wanted_page.answer = answer;
    wanted_page.running &&= answer.searched.cut_short && wanted_page.found.length < enough && n < ANSWERS;
    table.items(wanted_page.found);
    tell(wanted_page);
  }
}

/** Start a new search from the form. */
function begin() {
  search = { found: [], looked: 0, cursor: null, asked: read(form) };
  for (const link of $$("[data-export]")) link.href = `/api/v1/pages/export${query({ format: link.dataset.export, ...search.asked })}`;
  return go(search);
}

put(form, Object.fromEntries(new URLSearchParams(location.search)));
form.onsubmit = (event) => event.preventDefault();
form.oninput = later(150, () => {
  history.replaceState(null, "", location.pathname + query(read(form)));
  begin().catch(complain);
});
stop.onclick = () => {
  search.running = false;
  tell(search);
};
more.onclick = () => go(search).catch(complain);
load(begin);
