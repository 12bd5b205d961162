/** One template, or a new one: what it says, who uses it, and how it came to that. */
import { $, act, ask, copy, get, h, patch, post, query, rows, segment, toast } from "../core/all.js";
import * as forms from "../core/form.js";
import { list, show, thing } from "../parts/told.js";

const { template: ref } = document.body.dataset;
const path = ref && `/templates/${segment(ref)}`;
const form = $("#form");
let version; // that the form was filled with
let before = "{}"; // what it said then

/** The parameters by name, as their author writes them: without what is as it is anyway. */
const named = (parameters) =>
  Object.fromEntries(parameters.map(({ name, ...rest }) => [name, Object.fromEntries(Object.entries(rest).filter(([, value]) => value != null && value !== "" && value !== false && String(value) !== ""))]));

const said = () => ({ spec: {}, parameters: {}, description: "", ...forms.read(form) });

forms.submits(form, async (what) => {
  const told = said();
  if (what === "check") {
    const { credentials } = await post("/templates/validate", { content: JSON.stringify(told), format: "json" });
    return toast(credentials.length ? `Well formed; publishing takes out ${credentials.join(", ")}` : "Well formed");
  }
  if (!ref) return location.assign(`/templates/${(await post("/templates", told)).id}`);
  const { parameters, ...rest } = forms.changes(JSON.parse(before), told);
  try {
    await patch(path, { ...rest, ...(parameters && { parameters: told.parameters }) }, version);
  } catch (error) {
    $("#stale").hidden = error.status !== 412;
    throw error;
  }
  version = 0;
  await again();
  toast("Saved");
});

const again = ref && show($("#page"), async (one) => {
  document.title = `${one.name} · Crawlyard`;
  const typed = version && JSON.stringify(said()) !== before;
  if (version !== one.version && !typed) {
    forms.write(form, { ...one, parameters: named(one.parameters) });
    before = JSON.stringify(said());
    ({ version } = one);
  }
  rows($("#used"), "use", (await get(`/schedules${query({ template: one.id, limit: 50 })}`)).items);
}, (one) => ({ ...one, is: one.public ? "public" : "private", icon: one.public ? "public" : "lock", private: !one.public }));

if (ref) list($("#versions"), { view: (one) => ({ ...one, number: one.version, old: one.version < thing.version, version: thing.version }) });

// --- published

/** Publish the template; ask again where schedules of its owner need what is taken out. */
async function publish(button, confirm) {
  const done = await act(button, () =>
    post(`${path}/publish${query({ confirm })}`, {}, thing.version).catch((error) => {
      if (error.code !== "confirmation_required") throw error;
      return error;
    }));
  if (!done) return;
  if (!done.schedules) {
    toast(`Public; removed: ${done.stripped.join(", ") || "nothing"}`);
    return again();
  }
  const fields = h("ul", {}, ...done.schedules.map((one) => h("li", {}, `${one.name} (${one.fields.join(", ")})`)));
  const text = "These schedules use its secrets and will keep them as values of their own:";
  if (await ask({ title: "Keep the secrets in its schedules?", text, verb: "Keep them and make it public", fields })) await publish(button, true);
}

addEventListener("click", async ({ target }) => {
  const button = target.closest("#publish");
  if (!button) return;
  const text = "Everyone on this server can see and use it. Passwords, cookies and other secrets are removed for good.";
  if (await ask({ title: `Make ${thing.name} public?`, text, verb: "Make it public" })) await publish(button);
});

// --- what a version changed

/** All values of *form* by their paths, as JSON. */
const flat = (form, path) => (form?.constructor === Object ? Object.entries(form).flatMap(([name, value]) => flat(value, path ? `${path}.${name}` : name)) : [[path, JSON.stringify(form)]]);
const told = ({ spec, parameters, description }) => new Map(flat({ description, ...spec, parameters: named(parameters) }));

addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-diff]");
  if (!button) return;
  const number = Number(button.closest("tr").dataset.id);
  const both = await act(button, () => Promise.all([number - 1, number].map((n) => (n ? get(`${path}/versions/${n}`) : { spec: {}, parameters: [] }))));
  if (!both) return;
  const [old, now] = both.map(told);
  const lines = [...new Set([...old.keys(), ...now.keys()])].filter((at) => old.get(at) !== now.get(at)).map((at) => ({ at, old: old.get(at), now: now.get(at) }));
  const fields = copy("diff", { same: !lines.length });
  rows($("tbody", fields), "changed", lines);
  await ask({ title: `What version ${number} changed`, verb: "Close", fields });
});
