/** Site map of a job: folders as areas and as a table; the level is in the URL. */
import { $, counted, get, h, int, query, write } from "../core/all.js";
import { treeMap } from "../parts/tree-map.js";

const box = $("section[data-tab=map]");
const COUNTS = ["fetched", "failed", "waiting", "redirected", "skipped"];
const added = (folders) => Object.fromEntries(COUNTS.map((count) => [count, folders.reduce((sum, folder) => sum + folder[count], 0)]));
const sizeOf = ({ fetched, failed, waiting }) => fetched + failed + waiting;

/** State of a folder's URLs: a word that sets the colour, and a text. */
function state(folder, ended) {
  const { fetched, failed, waiting } = folder;
  if (failed) return { is: "failed", said: `${int(failed)} failed` };
  if (!sizeOf(folder)) return { is: "idle", said: "nothing to fetch" };
  if (!waiting) return { is: "done", said: "all fetched" };
  if (!fetched) return { is: "idle", said: ended ? "never fetched" : "not fetched yet" };
  return { is: ended ? "stopped" : "running", said: `${Math.floor((fetched / sizeOf(folder)) * 100)}% fetched` };
}

/** Show the level in the URL of the job at *path*. */
export async function siteMap(path, { ended_at }) {
  const { under, items, total, unlisted, skipped_elsewhere: elsewhere } = await get(`${path}/map${query({ under: new URLSearchParams(location.search).get("under") })}`);
  const there = (place) => `${path}/map${query({ under: place })}`;
  const viewOf = (folder, name, into) => ({ ...folder, ...state(folder, ended_at), name, into, size: sizeOf(folder), list: `${path}/pages${query({ under: under + (into ? folder.name : "") })}` });
  const folders = items.map((folder) => viewOf(folder, folder.name || "(this folder)", folder.name && there(under + folder.name)));
  if (unlisted) {
    const sums = added(items);
    const remainder = Object.fromEntries(COUNTS.map((count) => [count, total[count] - sums[count]]));
    folders.push(viewOf(remainder, counted(unlisted, "smaller folder")));
  }
  const area = (folder) => ({ ...folder, said: `${int(folder.size)} · ${folder.said}`, href: folder.into || folder.list, data: folder.into ? { tab: "map" } : {} });
  treeMap($(".tree", box), folders.map(area), (rest) => area(viewOf(added(rest), counted(rest.length, "more folder"))));
  $("tbody", box).replaceChildren(...folders.map(row));
  $("nav", box).replaceChildren(...way(under, there));
  const away = total.skipped ? `, ${int(elsewhere)} of them on other hosts` : ", all on other hosts";
  const counts = [[total.fetched, "fetched"], [total.failed, "failed"], [total.waiting, ended_at ? "never fetched" : "in the queue"], [total.redirected, "redirected"], [total.skipped + elsewhere, `skipped${elsewhere ? away : ""}`]];
  const words = counts.filter(([n]) => n).map(([n, word]) => `${int(n)} ${word}`);
  write($(".said", box), `${counted(sizeOf(total), "URL")}: ${words.join(", ") || "none fetched"}`);
  $(".none", box).hidden = items.length > 0;
  $(".tree", box).hidden = $(".scroll", box).hidden = !items.length;
}

function row(folder) {
  const numbers = COUNTS.map((count) => h("td.num.w700", { role: "cell" }, int(folder[count])));
  return h("tr", { role: "row" },
    h("td.wide.mono", { role: "cell" }, folder.into ? h("a.main", { href: folder.into, data: { tab: "map" } }, folder.name) : folder.name),
    h("td", { role: "cell" }, h("span.key", {}, h(`span.c-${folder.is}`, {}, h(folder.is === "failed" ? "i.hatched" : "i", { "aria-hidden": "true" }), folder.said))),
    h("td.num", { role: "cell" }, int(folder.size)), numbers,
    h("td", { role: "cell" }, h("a", { href: folder.list, "aria-label": `Pages: ${folder.name}` }, "Pages")));
}

/** Breadcrumbs from all hosts to a folder. */
function way(under, there) {
  const parts = under.split("/").slice(0, -1);
  return parts.map((name, n) => {
    const place = `${parts.slice(0, n + 1).join("/")}/`;
    return place === under ? h("b", {}, `${name}/`) : h("a", { href: there(place), data: { tab: "map" } }, `${name}/`);
  });
}
