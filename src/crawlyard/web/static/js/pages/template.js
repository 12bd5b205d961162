/** One template, or a new one: what it says, who uses it, and how it came to that. */
import { $, $$, act, ask, copy, get, h, patch, post, query, rows, segment, toast } from "../core/all.js";
import * as forms from "../core/form.js";
import { offer, summaries } from "../parts/crawl.js";
import { list, show, thing } from "../parts/declarative.js";
import { views } from "../parts/yaml.js";

const { template: ref } = document.body.dataset;
const path = ref && `/templates/${segment(ref)}`;
const form = $("#form");
let version; // version in the form
let before = "{}"; // values of that version

/** The parameters by name, as their author writes them: without what is as it is anyway. */
const named = (parameters) =>
  Object.fromEntries(parameters.map(({ name, ...rest }) => [name, Object.fromEntries(Object.entries(rest).filter(([, value]) => value != null && value !== "" && value !== false && String(value) !== ""))]));

// --- its fields: a row each, whose controls are named by what is typed as its name

const AS = { list: "words", integer: "number", number: "number", boolean: "number" };
const keys = () => $$("[data-key]", form).map((el) => el.value.trim()).filter(Boolean);

function rename(row) {
  const key = $("[data-key]", row).value.trim();
  for (const el of $$("[data-part]", row)) {
    if (key) el.name = `parameters.${key}.${el.dataset.part}`;
    else el.removeAttribute("name");
  }
  const as = AS[$("[data-part=type]", row).value] ?? "text";
  $("[data-part=default]", row).dataset.as = as;
  $("[data-remove]", row).ariaLabel = `Remove ${key || "this field"}`;
}

let parameterCount = 0;
function add(key = "") {
  const row = copy("parameter");
  for (const label of $$("[data-for]", row)) {
    const { for: part } = label.dataset;
    const el = $(part === "key" ? "[data-key]" : `[data-part=${part}]`, row);
    label.htmlFor = el.id = `parameter-${++parameterCount}`;
  }
  $("[data-key]", row).value = key;
  row.oninput = () => {
    rename(row);
    offer(form, keys());
  };
  $("[data-remove]", row).onclick = () => {
    row.remove();
    offer(form, keys());
    typed();
    $("#add").focus();
  };
  $("#parameters").append(row);
  rename(row);
  return row;
}
$("#add").onclick = () => $("[data-key]", add()).focus();

// --- the form, and the same as YAML

/** Fill the form with a template, as `POST /templates` takes it. */
function refill({ name, description = "", parameters = {}, spec = {} }) {
  for (const el of $$("[data-label]", form)) el.value = "";
  $("#parameters").replaceChildren();
  Object.keys(parameters).forEach(add);
  offer(form, Object.keys(parameters));
  forms.write(form, { name, description, parameters, spec });
  $$(".parameter", form).forEach(rename);
  forms.write(form, { parameters }); // now that each is read by its type
  typed();
}

function values() {
  const { content, visibility, ...fields } = forms.read(form);
  return { name: "", description: "", parameters: {}, spec: {}, ...fields };
}

const yamlView = views(form, { kind: "template", said: values, refill });

forms.submits(form, async (action) => {
  await yamlView.turn("form");
  const { visibility } = form.elements;
  const draft = values();
  if (action === "check") {
    const { credentials } = await post("/templates/validate", { content: JSON.stringify(draft), format: "json" });
    return toast(credentials.length ? `Valid; publishing removes ${credentials.join(", ")}` : "Valid");
  }
  if (!ref) {
    const { id } = await post("/templates", draft);
    if (visibility.value === "public") await post(`/templates/${id}/publish`);
    return location.assign(`/templates/${id}`);
  }
  try {
    await patch(path, forms.changes(JSON.parse(before), draft), version);
  } catch (error) {
    $("#stale").hidden = error.status !== 412;
    throw error;
  }
  version = 0;
  await again();
  toast("Saved");
});
const typed = summaries(form);

const again = ref && show($("#page"), async (template) => {
  document.title = `${template.name} · Crawlyard`;
  const edited = version && (yamlView.is("yaml") || JSON.stringify(values()) !== before);
  if (version !== template.version && !edited) {
    refill({ ...template, parameters: named(template.parameters) });
    before = JSON.stringify(values());
    ({ version } = template);
  }
  rows($("#used"), "use", (await get(`/schedules${query({ template: template.id, limit: 50 })}`)).items);
}, (template) => ({ ...template, is: template.public ? "public" : "private", icon: template.public ? "public" : "lock", private: !template.public }));

if (ref) list($("#versions"), { view: (version) => ({ ...version, number: version.version, old: version.version < thing.version, version: thing.version }) });

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
  const fields = h("ul", {}, ...done.schedules.map((schedule) => h("li", {}, `${schedule.name} (${schedule.fields.join(", ")})`)));
  const text = "These schedules use its secrets and will store their own copies:";
  if (await ask({ title: "Keep the secrets in its schedules?", text, verb: "Keep them and make it public", fields })) await publish(button, true);
}

addEventListener("click", async ({ target }) => {
  const button = target.closest("#publish");
  if (!button) return;
  const text = "Everyone on this server can see and use it. Passwords, cookies and other secrets are removed permanently.";
  if (await ask({ title: `Make ${thing.name} public?`, text, verb: "Make it public" })) await publish(button);
});

// --- what a version changed

/** All values of *form* by their paths, as JSON. */
const flat = (form, path) => (form?.constructor === Object ? Object.entries(form).flatMap(([name, value]) => flat(value, path ? `${path}.${name}` : name)) : [[path, JSON.stringify(form)]]);
const fieldsOf = ({ spec, parameters, description }) => new Map(flat({ description, ...spec, parameters: named(parameters) }));

addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-diff]");
  if (!button) return;
  const number = Number(button.closest("tr").dataset.id);
  const versions = await act(button, () => Promise.all([number - 1, number].map((n) => (n ? get(`${path}/versions/${n}`) : { spec: {}, parameters: [] }))));
  if (!versions) return;
  const [old, now] = versions.map(fieldsOf);
  const lines = [...new Set([...old.keys(), ...now.keys()])].filter((at) => old.get(at) !== now.get(at)).map((at) => ({ at, old: old.get(at), now: now.get(at) }));
  const fields = copy("diff", { same: !lines.length });
  rows($("tbody", fields), "changed", lines);
  await ask({ title: `Changes in version ${number}`, verb: "Close", fields });
});
