/** Activity: events and their actors. */
import { $, at, cap, complain, fateWord, live, reasonWord, soon, tickWord } from "../core/all.js";
import { list } from "../parts/declarative.js";

const PLACES = { job: "jobs", schedule: "schedules", template: "templates" };
const ICONS = { page: "results", run: "diff", session: "tokens" };
const KNOWN = /^(state|version|.*_id)$/; // or empty: not worth a word
const words = (kind) => ({ reason: kind === "schedule" ? tickWord : reasonWord, outcome: fateWord });
function describe(value) {
  if (Array.isArray(value)) return value.map(describe).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, member]) => `${name} ${describe(member ?? "none")}`).join(", ");
  return /^\d{4}-\d\d-\d\dT/.test(value) ? at(value) : String(value).replaceAll("_", " ");
}

const table = list($("#events"), {
  id: "seq",
  view: (event) => {
    const [kind, verb] = event.name.split(".");
    const details = Object.entries(event.data).filter(([name, value]) => value !== "" && value != null && !KNOWN.test(name));
    const detail = details.map(([name, value]) => `${name.replaceAll("_", " ")}: ${typeof value === "string" && words(kind)[name] ? words(kind)[name](value) : describe(value)}`);
    return {
      ...event,
      kind: ICONS[kind] ?? `${kind}s`.replace("ss", "s"),
      is: event.data.state ?? verb,
      what: verb === "ticked" ? "Run due" : `${cap(kind)} ${verb.replaceAll("_", " ")}`,
      place: kind === "settings" || verb === "deleted" ? "" : PLACES[kind],
      short: event.subject.length > 20 ? `…${event.subject.slice(-8)}` : event.subject,
      other: event.owner && event.owner !== event.actor,
      detail: detail.join(" · "),
    };
  },
});
const again = soon(400, () => $("#follow").checked && table.reload().catch(complain));
for (const name of document.body.dataset.events.split(" ")) if (/^[a-z]+\.(?!progress)/.test(name)) live.addEventListener(name, again);
