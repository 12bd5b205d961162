/** The templates: one's own, and the public ones. */
import { $, act, post, query } from "../core/all.js";
import { read } from "../core/form.js";
import { list } from "../parts/told.js";

list($("#templates"), {
  view: (one) => ({
    ...one,
    is: one.public ? "public" : "private",
    icon: one.public ? "public" : "lock",
    asks: one.parameters.map(({ name }) => name).join(", "),
  }),
  shown() {
    const filtered = Boolean(query(read($("form[data-find]"))));
    $("#nothing").hidden = filtered;
    $("#filtered").hidden = !filtered;
  },
});

const file = $("#file");
$("#import").onclick = () => file.click();
file.onchange = () =>
  act($("#import"), async () => {
    const made = await post("/templates/import", { content: await file.files[0].text() });
    location.assign(`/templates/${made.id}`);
  });
