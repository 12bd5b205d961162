/** All schedules: when they run, how their last ticks went; paused, resumed and run from here. */
import { $, keys, query } from "../core/all.js";
import { read } from "../core/form.js";
import { list } from "../parts/told.js";
import { drawn, shown, standing } from "../parts/schedules.js";

const table = list($("#list"), {
  view(schedule) {
    const ticks = (schedule.expanded?.recent ?? []).map((tick) => shown(tick));
    return { ...standing(schedule), ticks, last: ticks[0] };
  },
  dress(tr, { ticks, expanded = {} }, row) {
    if (row.drawn === expanded) return; // sixty bars are not drawn anew for nothing
    row.drawn = expanded;
    $(".ticks", tr).replaceChildren(drawn(ticks));
  },
  shown() {
    const filtered = Boolean(query(read($("#find"))));
    $("#nothing").hidden = filtered;
    $("#filtered").hidden = !filtered;
  },
});
setInterval(() => table.rows.forEach((_, id) => table.patch(id, {})), 10000); // what is late is so without an event
keys({ p: () => table.current && $(".toggle", table.current.tr).click() });
