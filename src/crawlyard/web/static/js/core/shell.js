/** Shared behaviour of all pages: keys, theme, badge, dialogs and toasts. */
import { $, $$, copy, h, icon, write } from "./dom.js";
import { Problem, post } from "./api.js";
import * as fmt from "./fmt.js";
import { read } from "./form.js";
import { on } from "./live.js";
import { forgetRecent, lock, recent } from "./user.js";

// --- messages

/**
 * Show *text* for some seconds; a *bad* one stays until closed, and is not shown twice. With *undo*, it has a button instead of
 * leaving. The timer stops while the toast has pointer or focus.
 */
export function toast(text, { bad = false, undo, id = "", passing } = {}) {
  if (bad && !undo && $$(".toast.bad").some((open) => open.dataset.said === text)) return;
  const close = h("button.ib", { type: "button", "aria-label": "Close", onclick: () => el.remove() }, icon("x"));
  const back = undo && h("button.btn.ghost", { type: "button", onclick: () => act(back, () => undo().then(() => el.remove())) }, "Undo");
  const el = h(bad ? "p.toast.bad" : "p.toast", { data: { said: text, ...(passing && { passing }) } }, h("span", {}, text, id && ` (${id})`), back, close);
  $("#toasts").append(el);
  const isHeld = () => el.matches(":hover, :focus-within");
  const leave = () => (isHeld() ? setTimeout(leave, 1000) : el.remove());
  if (!bad) setTimeout(leave, undo ? 10000 : 6000);
}

/** Show a problem, with its id in the server's log. */
export function complain(error) {
  if (!(error instanceof Problem)) throw error;
  // failed reads are repeated once the server is back
  toast(error.message, { bad: true, id: error.status >= 500 ? error.request_id : "", passing: error.code === "away" && error.read });
}

/** Do *work* with *button* disabled; show *done* or the error. Resolves to the result. */
export async function act(button, work, done) {
  const focused = button === document.activeElement;
  if (button) button.disabled = true;
  try {
    const result = await work();
    if (done) toast(done);
    return result;
  } catch (error) {
    complain(error);
  } finally {
    if (button) button.disabled = false;
    lock(button?.parentElement ?? document);
    if (focused && document.activeElement === document.body) button.focus();
  }
}

/**
 * Open a dialog; resolves to the values of its form ({} without fields), null if it is
 * closed. *fields* is the id of a <template> with the fields, or an element.
 */
export function ask({ title, text, verb, bad, fields }) {
  const dialog = $("#ask");
  const inner = typeof fields === "string" ? copy(fields) : fields;
  const confirm = h(bad ? "button.btn.bad" : "button.btn.pri", { value: "yes" }, verb);
  dialog.replaceChildren(
    h("form", { method: "dialog" },
      h("h2", { id: "ask-title" }, title),
      text && h("p", {}, text),
      inner,
      h("div.row.end", {}, h("button.btn", { type: "button", onclick: () => dialog.close() }, "Back"), confirm)));
  dialog.returnValue = "";
  dialog.showModal();
  if (!inner) confirm.focus();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      resolve(dialog.returnValue === "yes" ? read($("form", dialog)) : null);
    };
  });
}

/** Copy *text*; where the browser gives no clipboard (plain HTTP), by a selection. */
export async function clip(text, noun) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const area = h("textarea.vh", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${noun} copied`);
}

// --- keys

const bound = new Map();
let going = 0;

/** Bind keys of this page: {p: work}; off while the user types, or has switched keys off. */
export const keys = (map) => Object.entries(map).forEach(([key, work]) => bound.set(key, work));
keys({
  "/": () => ($("main [type=search]") ? $("main [type=search]").focus() : palette()),
  "?": () => $("#help").showModal(),
  n: () => $("#new").click(),
  g: () => { going = Date.now(); },
});

let ahead = null; // keys typed until the palette has loaded
let openPalette; // of its module, once that is loaded

async function palette() {
  drawer(false);
  if (openPalette) return openPalette("");
  if (ahead !== null) return;
  ahead = "";
  try {
    ({ open: openPalette } = await import("../parts/palette.js"));
    openPalette(ahead);
  } catch {
    toast("The server does not respond; try again", { bad: true });
  }
  ahead = null;
}
for (const el of $$("[data-palette]")) el.onclick = palette;

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    return palette();
  }
  if (ahead !== null) {
    if (event.key.length === 1) ahead += event.key;
    return event.preventDefault();
  }
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, dialog[open]");
  if (event.key === "Escape" && event.target.matches("[type=search]")) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || localStorage.cyKeys === "off") return;
  const goes = Date.now() - going < 1500 && $$("[data-go]").find((link) => link.dataset.go === event.key);
  going = 0;
  const work = goes ? () => goes.click() : bound.get(event.key);
  if (work) {
    event.preventDefault();
    work(event);
  }
});

// --- menus: a click elsewhere closes them, and Escape

const closeMenus = (but) => $$(".drop[open]").forEach((menu) => { menu.open = menu.contains(but); });
addEventListener("click", ({ target }) => target.closest("dialog") || closeMenus(target));
keys({ Escape: () => closeMenus(null) });

// --- theme, time, badge

$("#theme").onclick = () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `crawlyard_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
};

setInterval(() => {
  for (const el of $$("time[data-f$='|ago']")) if (el.dateTime) write(el, fmt.ago(el.dateTime));
}, 5000);

const SAID = { live: "Live", away: "Reconnecting…", offline: "Offline", out: "Signed out", "": "Connecting…" };
const OFFLINE_MS = 60000;
let since = 0;

function badge(is) {
  const el = $("#live");
  if (el.dataset.is !== is) el.dataset.is = $("#more").dataset.is = is;
  write($("span", el), is === "offline" ? `Offline, as of ${fmt.time(since)}` : SAID[is]);
  document.body.classList.toggle("stale", is === "offline" || is === "out");
  if (is === "live") for (const el of $$(".toast[data-passing]")) el.remove();
}
const isOffline = () => since && Date.now() - since > OFFLINE_MS;
on("status", (status) => {
  since = status.since ?? 0;
  badge(status.is === "away" && isOffline() ? "offline" : status.is);
  if (status.is === "out") signedOut();
});
setInterval(() => isOffline() && badge("offline"), 5000);
on("bye", signedOut);
addEventListener("signedout", signedOut);

async function signedOut() {
  if ($("#ask").open || location.pathname === "/signin") return;
  badge("out");
  const next = encodeURIComponent(location.pathname + location.search);
  const yes = await ask({ title: "You are signed out", text: "The data shown may be out of date.", verb: "Sign in" });
  if (yes) location.assign(`/signin?next=${next}`);
}

// --- the frame around the page

const here = $("#here");
/** The page of a job or the like has its name as title: the bar says it, too. */
function titled() {
  const [name] = document.title.split(" · ");
  if (name === here.textContent) return;
  if (!("own" in here.dataset)) write(here, name); // own: the bar names the job before it
  recent({ name, href: location.pathname, sign: $("[aria-current=page] use").getAttribute("href").slice(3) });
}
if (here) new MutationObserver(titled).observe($("title"), { childList: true });

on("counts", (counts) => write($("#n-jobs"), fmt.int(counts.running + counts.pending)));
on("workers", ({ workers }) => write($("#n-workers"), fmt.int(workers.filter((w) => w.alive).length)));

const drawn = () => document.body.classList.contains("drawer");

/** On a phone, the rail is a drawer: a click elsewhere closes it, and Escape. */
function drawer(open) {
  if (open === drawn()) return;
  document.body.classList.toggle("drawer", open);
  $("#more").ariaExpanded = open;
  (open ? $("#side a") : $("#more")).focus();
}
$("#more").onclick = () => drawer(!drawn());
addEventListener("click", ({ target }) => target.closest("#side, #more") || drawer(false));
addEventListener("keydown", ({ key }) => key === "Escape" && drawer(false));
$("#signout").onclick = (event) =>
  act(event.currentTarget, async () => {
    forgetRecent();
    await post("/auth/logout");
    location.assign("/signin");
  });
$("#keys").checked = localStorage.cyKeys !== "off";
$("#keys").onchange = (event) => { localStorage.cyKeys = event.target.checked ? "on" : "off"; };
for (const el of $$("[data-close]")) el.onclick = () => el.closest("dialog").close();
lock();

const unloaded = new Map(); // loads that never succeeded, with their errors

/** Show failed loads in the page, with a Retry button. */
function failing() {
  const [why] = unloaded.values();
  $("#unloaded")?.remove();
  document.body.classList.toggle("unloaded", unloaded.size > 0);
  if (!why) return;
  const retry = h("button.btn", { type: "button", onclick: () => act(retry, () => Promise.all([...unloaded.keys()].map((again) => again()))) }, "Retry");
  $(".body").prepend(h("div.banner.bad", { id: "unloaded", role: "alert" }, h("span.grow", {}, h("b", {}, "This could not be loaded. "), why.message), retry));
}

/** Do *work* now, and again whenever the stream reports missed events. */
export function load(work) {
  let loaded = false;
  const again = async () => {
    try {
      await work();
      loaded = true;
      if (unloaded.delete(again)) failing();
    } catch (error) {
      if (loaded || !(error instanceof Problem)) return complain(error);
      unloaded.set(again, error);
      failing();
    }
  };
  on("resync", again);
  return again();
}
