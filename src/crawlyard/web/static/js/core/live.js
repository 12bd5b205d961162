/** Live events, dispatched by name on `live`. */
import { listen } from "./stream.js";

export const live = new EventTarget();
const names = document.body.dataset.events.split(" ");
const seq = +document.body.dataset.seq; // of the last event before this page was made: later ones come by the stream
const progress = new Map();
let frame = 0;

function tell(name, data) {
  if (name !== "jobs.progress") return live.dispatchEvent(new CustomEvent(name, { detail: data }));
  for (const job of data.jobs) progress.set(job.id, job); // the last word on each, once a frame
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    live.dispatchEvent(new CustomEvent("progress", { detail: [...progress.values()] }));
    progress.clear();
  });
}

function start() {
  if (!globalThis.SharedWorker) return listen(names, tell, seq);
  const { port } = new SharedWorker(new URL("../core/shared.js", import.meta.url), { type: "module" });
  port.onmessage = ({ data }) => tell(...data);
  port.postMessage({ names, seq });
  addEventListener("pagehide", () => port.postMessage("bye"));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}
start();

/** Call *hear(data)* at each event of one of these names; "schedule.*" are all of schedules. */
export function on(patterns, hear) {
  for (const name of patterns.split(" ").flatMap((word) => (word.endsWith("*") ? names.filter((name) => name.startsWith(word.slice(0, -1))) : word))) live.addEventListener(name, ({ detail }) => hear(detail, name));
}
