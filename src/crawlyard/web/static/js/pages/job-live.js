/** Live parts of a running job: latest pages, and pace per host. */
import { $, copy, fill, get, write } from "../core/all.js";
import { thing as job } from "../parts/declarative.js";
import { path } from "./job-tabs.js";
import { delay, holdReason } from "./job-words.js";

const [tail, paces] = [$("#tail"), $("#pace-now")]; // held: a job that is deleted takes them away
const log = $("#latest").parentElement;
const still = () => log.matches(":hover, :focus, :focus-within");
let source, waiting;

/** Follow the latest pages while they are *followed* and visible. */
export function follow(followed) {
  tail.hidden = Boolean(job.ended_at);
  if (followed && !job.ended_at && !document.hidden) {
    source ??= listening();
    return;
  }
  source?.close();
  source = null;
}

function listening() {
  const stream = new EventSource(`/api/v1${path}/events/stream`);
  stream.addEventListener("job.pages", ({ data }) => {
    waiting = JSON.parse(data).pages;
    if (!still()) show();
    else write($("#tail-is", tail), "Paused while you read; newer pages wait");
  });
  return stream;
}

const rowsById = new Map(); // rows, by the ids of pages

/** Show new pages; existing rows stay. */
function show() {
  if (!waiting) return;
  const first = rowsById.size > 0;
  const rows = waiting.map((page) => {
    const row = rowsById.get(page.id) ?? drawn(page);
    if (first && !rowsById.has(page.id)) row.classList.add("new");
    return [page.id, row];
  });
  waiting = null;
  write($("#tail-is", tail), "Live");
  rowsById.clear();
  for (const [id, row] of rows) rowsById.set(id, row);
  log.firstElementChild.replaceChildren(...rowsById.values());
  log.nextElementSibling.hidden = rowsById.size > 0;
}
for (const name of ["pointerleave", "focusout"]) log.addEventListener(name, () => setTimeout(() => still() || show()));

function drawn(page) {
  const { url, final_url, status, error } = page;
  const { pathname, search } = new URL(url);
  const to = final_url && final_url !== url ? ` → ${new URL(final_url).pathname}` : "";
  const status_text = status ?? error;
  return copy("latest-page", { ...page, said: status_text, is: error ? "failed" : "completed", name: pathname + search + to });
}

const MOST_SHOWN = 10;

/** Show the pace at the current hosts; resolves to them. */
export async function pace() {
  const runs = job.state === "running";
  const { items } = runs ? await get(`${path}/hosts?limit=${MOST_SHOWN}`) : { items: [] };
  const list = $("ul", paces);
  paces.hidden = !items.length;
  $("button", paces).hidden = !job.allowed_actions.includes("edit");
  while (list.children.length > items.length) list.lastChild.remove();
  items.forEach((host, n) => {
    const view = { ...host, delay: delay(host, job), held: holdReason(host) };
    if (list.children[n]) fill(list.children[n], view);
    else list.append(copy("pace-at", view));
  });
  return items;
}
