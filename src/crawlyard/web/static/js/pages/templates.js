/** Templates: own and public ones. */
import { $, act, post, query } from "../core/all.js";
import { read } from "../core/form.js";
import { list } from "../parts/declarative.js";

list($("#templates"), {
  view: (template) => ({
    ...template,
    is: template.public ? "public" : "private",
    icon: template.public ? "public" : "lock",
    asks: template.parameters.map(({ name }) => name).join(", "),
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
    const template = await post("/templates/import", { content: await file.files[0].text() });
    location.assign(`/templates/${template.id}`);
  });
