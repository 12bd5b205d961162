/** Who works, and what all of them together do to each host. */
import { $ } from "../core/all.js";
import { list } from "../parts/told.js";

list($("#workers"), {
  view: (worker) => ({
    ...worker,
    is: !worker.alive ? "lost" : worker.stopping ? "stopping" : worker.running.length ? "running" : "idle",
    gone: !worker.alive,
    busy: worker.running.length,
    bar: worker.alive ? "running" : "off",
  }),
  dress: (tr, { busy, slots }) => { $(".pb i", tr).style.transform = `scaleX(${busy / Math.max(1, slots)})`; },
});
list($("#hosts"), {
  view: (host) => {
    const held = Date.parse(host.held_until) > Date.now();
    const is = held ? "late" : host.in_flight ? "running" : "idle";
    const why = held ? "It asked for a rest, until" : host.in_flight ? "Being asked" : "Waits for its delay";
    return { ...host, is, why, until: held ? host.held_until : null, all: host.jobs.length + host.others };
  },
});
