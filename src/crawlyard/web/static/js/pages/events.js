/** What has happened, and who did it. */
import { $, cap, complain, live, soon } from "../core/all.js";
import { list } from "../parts/told.js";

const PLACES = { job: "jobs", schedule: "schedules", template: "templates" };
const KNOWN = new Set(["state", "version"]); // or empty: not worth a word
const said = (value) => (Array.isArray(value) ? value.join(", ") : value && typeof value === "object" ? JSON.stringify(value) : String(value).replaceAll("_", " "));

const table = list($("#events"), {
  id: "seq",
  view: (event) => {
    const [kind, verb] = event.name.split(".");
    const told = Object.entries(event.data).filter(([name, value]) => value !== "" && value != null && !KNOWN.has(name));
    const detail = told.map(([name, value]) => `${name.replaceAll("_", " ")}: ${said(value)}`);
    return {
      ...event,
      kind: `${kind}s`.replace("ss", "s"),
      is: event.data.state ?? verb,
      what: `${cap(kind)} ${verb.replaceAll("_", " ")}`,
      place: kind === "settings" || verb === "deleted" ? "" : PLACES[kind],
      short: event.subject.length > 20 ? `…${event.subject.slice(-8)}` : event.subject,
      other: event.owner && event.owner !== event.actor,
      detail: detail.join(" · "),
    };
  },
});
const again = soon(400, () => $("#follow").checked && table.reload().catch(complain));
for (const name of document.body.dataset.events.split(" ")) if (/^[a-z]+\.(?!progress)/.test(name)) live.addEventListener(name, again);
