/** Settings: tokens, triggers, webhooks, site logins, users, and grants for crawls. */
import { $, $$, get, load, may, put, segment, toast, user } from "../core/all.js";
import { read, submits, write } from "../core/form.js";
import { issued, list } from "../parts/declarative.js";

const HOW = { form: "login form", cookies: "cookies", basic: "password", bearer: "token" };
const withStatus = (hook) => ({ ...hook, is: !hook.active ? "disabled" : hook.failing_since ? "late" : "on" });
const withAnswer = (delivery) => {
  const last = delivery.attempts.at(-1);
  return { ...delivery, answer: last ? `${last.status ?? last.error} ${last.excerpt}` : "Not sent yet" };
};
const OF = { deliveries: "webhook", messages: "channel" }; // lists of the record that the address names
const names = new Map(); // of schedules and templates, by id
const withState = (item) => ({ ...item, ...issued(item), other: item.user !== user.id });
const VIEWS = {
  tokens: (token) => ({ ...withState(token), may: token.scopes.join(", ") || "all permissions of the role" }),
  triggers: (trigger) => {
    const [place, target] = trigger.schedule_id ? ["schedules", trigger.schedule_id] : ["templates", trigger.template_id];
    return { ...withState(trigger), place, target, starts: names.get(target) ?? `A ${place.slice(0, -1)}` };
  },
  webhooks: withStatus,
  deliveries: withAnswer,
  channels: (channel) => ({ ...withStatus(channel), what: channel.on.map((word) => word.replace("_", " ")).join(", ") + (channel.quiet_hours && `; quiet ${channel.quiet_hours} ${channel.zone}`) }),
  messages: withAnswer,
  sessions: (session) => ({ ...session, how: HOW[session.kind] ?? session.kind, places: session.origins.join(", ") }),
  audit: (entry) => {
    const { name, by, kind, reason, session, section, host } = entry.data;
    const subject = entry.subject.length > 20 ? `…${entry.subject.slice(-8)}` : entry.subject;
    return { ...entry, on: name || subject, detail: [by, kind, reason, session, section, host].filter(Boolean).join(" · ") };
  },
  users: (user) => ({ ...user, is: user.disabled_at ? "disabled" : "on" }),
};
for (const place of $("#triggers") ? ["schedules", "templates"] : []) {
  if (!may(`${place}:read`)) continue;
  const { items } = await get(`/${place}?limit=200`);
  for (const { id, name } of items) names.set(id, name);
  $(`#${place}`).append(...items.map(({ name }) => new Option("", name)));
}
for (const root of $$("[data-list][data-own]")) {
  if (OF[root.id] && !new URLSearchParams(location.search).get(OF[root.id])) continue;
  root.hidden = false;
  list(root, { view: VIEWS[root.id] });
}

// "Notify me" of a page sets the events; the user enters the URL
const { events, description, schedule } = Object.fromEntries(new URLSearchParams(location.search));
const hooking = $("form[data-send='POST /webhooks']");
if (hooking && events) {
  write(hooking, { events: events.split(" "), description, schedule });
  $("#url").focus();
}

/** Create and replace sessions with *form*; secrets are cleared from it when sent. */
function loggingIn(form) {
  const kind = $("#session-kind");
  const updateFields = () => {
    for (const el of $$("[data-kinds]", form)) el.hidden = !el.dataset.kinds.split(" ").includes(kind.value);
  };
  kind.onchange = updateFields;
  $("#session-file").onchange = async ({ target: { files: [file] } }) => {
    if (file) $("#session-cookies").value = await file.text();
  };
  const { name: renewed } = Object.fromEntries(new URLSearchParams(location.search));
  load(async () => {
    if (renewed && !$("#session-name").value) write(form, await get(`/sessions/${segment(renewed)}`).then(({ fields, cookies, ...rest }) => rest));
    updateFields();
  });
  submits(form, async () => {
    const { name, ...fields } = read(form);
    const secret = $("#session-secret").value; // as typed, blanks and all
    const session = await put(`/sessions/${segment(name)}`, { ...fields, ...(fields.secret && { secret }) });
    form.reset();
    updateFields();
    toast(`Logged in: ${session.name}`);
  });
}
$$("#login").forEach(loggingIn);

/** Show and edit a section of the settings in a form. */
function section(form) {
  const path = `/settings/${form.dataset.section}`;
  const whole = "whole" in form.dataset;
  let version;
  const show = ({ value, effective, version: now }) => {
    version = now;
    write(form, whole ? { whole: value } : { ...value, ...(["grants", "sharing"].includes(form.dataset.section) && effective) });
    for (const el of $$("input", form)) el.placeholder ||= effective[el.name] ?? "No limit";
  };
  load(async () => version ?? show(await get(path))); // input stays
  submits(form, async () => {
    const values = read(form);
    show(await put(path, whole ? (values.whole ?? {}) : values, version));
    toast("Saved");
  });
}
$$("form[data-section]").forEach(section);
