/** Schedules: times and outcomes of runs; pause, resume and run. */
import { $, host, keys, query } from "../core/all.js";
import { read } from "../core/form.js";
import { list } from "../parts/declarative.js";
import { drawn, fate, runView, standing } from "../parts/schedules.js";

const table = list($("#list"), {
  view(schedule) {
    const ticks = (schedule.expanded?.recent ?? []).map(runView);
    const { pages = null } = ticks.find((tick) => tick.pages != null) ?? {};
    const urls = schedule.overrides.urls ?? [];
    const hosts = [...new Set(urls.map(host))];
    const about = schedule.description || (hosts.length > 1 ? `${hosts.length} hosts` : hosts[0]);
    const last = ticks[0] && { ...ticks[0], word: fate(ticks[0].is) };
    const when_text = schedule.when_text.replace(` (${schedule.zone})`, ""); // it stands below
    return { ...standing(schedule), when_text, ticks, last, pages, fetched: pages != null, about };
  },
  dress(tr, { ticks, expanded = {} }, row) {
    if (row.drawn === expanded) return; // redrawing thirty bars is expensive
    row.drawn = expanded;
    $(".ticks", tr).replaceChildren(drawn(ticks));
  },
  shown() {
    const filtered = Boolean(query(read($("#find"))));
    $("#nothing").hidden = filtered;
    $("#filtered").hidden = !filtered;
  },
});
setInterval(() => table.rows.forEach((_, id) => table.patch(id, {})), 10000); // lateness has no event
keys({ p: () => table.current && $(".toggle", table.current.tr).click() });
