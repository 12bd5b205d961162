/** The user: their permits and their recent places. */
import { $$ } from "./dom.js";

const { dataset } = document.body;
export const user = { id: dataset.user, role: dataset.role };
const permits = new Set(dataset.permits.split(" "));

/** Return whether the user has *permit*, such as "jobs:write". */
export const may = (permit) => permits.has(permit);

/** Disable controls in *root* that the user has no permit for (data-needs), with the reason. */
export function lock(root = document) {
  for (const el of $$("[data-needs]", root)) {
    if (may(el.dataset.needs)) continue;
    el.disabled = true;
    delete el.dataset.tip;
    delete el.dataset.href;
    el.title = `Your role, ${user.role}, may not do this (needs ${el.dataset.needs})`;
    if (el.localName === "a") {
      el.removeAttribute("href");
      el.ariaDisabled = true;
    }
  }
}

const RECENT = `cyRecent:${user.id}`;
const MOST_RECENT = 6;

/** Recently visited places, latest first; add *place* ({name, href, sign}) if given. */
export function recent(place) {
  const old = JSON.parse(localStorage[RECENT] ?? "[]");
  if (!place) return old;
  localStorage[RECENT] = JSON.stringify([place, ...old.filter(({ href }) => href !== place.href)].slice(0, MOST_RECENT));
}

/** Clear the recent places. */
export const forgetRecent = () => localStorage.removeItem(RECENT);
