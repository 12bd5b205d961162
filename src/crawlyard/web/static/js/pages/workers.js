/** Who works, and what all of them together do to each host; the words are in the markup. */
import { $ } from "../core/all.js";
import { list } from "../parts/declarative.js";

list($("#workers"), {
  view: (worker) => ({
    ...worker,
    word: worker.state === "quiet" ? "draining" : worker.state,
    [worker.state]: 1, // also when it has not heard of it yet
    busy: worker.running.length,
    bar: worker.alive ? "running" : "off",
  }),
  dress: (tr, { busy, slots }) => { $(".pb i", tr).style.transform = `scaleX(${busy / Math.max(1, slots)})`; },
});
list($("#hosts"), {
  view: (host) => {
    const { held_until, in_flight, others, state } = host;
    const onHold = Date.parse(held_until) > Date.now();
    const all = host.jobs.length + others;
    const is = state !== "open" ? state : onHold ? "late" : in_flight ? "running" : all ? "idle" : "ended";
    return { ...host, [state]: 1, [is]: 1, is, all };
  },
});
