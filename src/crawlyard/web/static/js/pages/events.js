/** Activity: events and their actors. */
import { $, cap, complain, detailed, fateWord, live, reasonWord, soon, tickWord } from "../core/all.js";
import { list } from "../parts/declarative.js";

const PLACES = { job: "jobs", schedule: "schedules", template: "templates" };
const ICONS = { page: "results", run: "diff", session: "tokens" };
const KNOWN = /^(state|version|name|.*_id)$/; // shown in another column, or an ID
const words = (kind) => ({ reason: kind === "schedule" ? tickWord : reasonWord, outcome: fateWord });

const table = list($("#events"), {
  id: "seq",
  view: (event) => {
    const [kind, verb] = event.name.split(".");
    const details = Object.entries(event.data).filter(([name, value]) => value !== "" && value != null && value !== "crawling" && !KNOWN.test(name));
    const detail = details.map(([name, value]) => words(kind)[name]?.(value) ?? detailed(name, value));
    return {
      ...event,
      kind: ICONS[kind] ?? `${kind}s`.replace("ss", "s"),
      is: event.data.state ?? verb,
      what: verb === "ticked" ? "Run due" : `${cap(kind)} ${verb.replaceAll("_", " ")}`,
      place: kind === "settings" || verb === "deleted" ? "" : PLACES[kind],
      about: event.data.name || (event.subject.length > 20 ? `…${event.subject.slice(-8)}` : event.subject),
      other: event.owner && event.owner !== event.actor,
      detail: detail.join(" · "),
    };
  },
});
const again = soon(400, () => $("#follow").checked && table.reload().catch(complain));
for (const name of document.body.dataset.events.split(" ")) if (/^[a-z]+\.(?!progress)/.test(name)) live.addEventListener(name, again);
