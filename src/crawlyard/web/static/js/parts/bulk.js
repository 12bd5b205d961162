/** Bulk actions on selected or all matching jobs, with undo where nothing is lost. */
import { $, act, ask, complain, counted, filled, fill, get, int, load, post, query, toast, write } from "../core/all.js";
import { draw } from "./job.js";

const AT_ONCE = 200; // more are done by an operation
const DOWNLOADED = 50; // jobs in one file: their ids are in its address

/** The reverse of an action, for each job as it was; null: none. */
const BACK = {
  pause: ({ state }) => (state === "paused" ? [] : ["resume"]),
  resume: ({ state }) => (state === "paused" ? ["pause"] : null),
  cancel: ({ state }) => (state === "cancelled" ? [] : state === "paused" ? ["resume", "pause"] : ["resume"]),
};

/** Return the bulk bar of *table*, whose filter is *which*; *count* counts again what matches. */
export function bar(table, which, count) {
  const root = $("#bulk");
  let [matching, stopped, every] = [0, false, false]; // every: all that match, not only what is on this page
  let followed = ""; // the operation that is shown
  const matchCount = () => `${int(matching)}${stopped ? "+" : ""}`;

  function chose(chosen, all = false) {
    every = all;
    root.hidden = !chosen.size;
    write($("strong", root), all ? `All ${int(matching)} that match are selected` : `${int(chosen.size)} selected`);
    $("#match").hidden = all || chosen.size < table.rows.size || (chosen.size >= matching && !stopped);
    write($("#match"), `Select all ${matchCount()} that match this filter`);
    const few = !all && chosen.size <= DOWNLOADED;
    const link = $("#download");
    if (few) link.href = `/api/v1/pages/export?${new URLSearchParams([...chosen].map((id) => ["job", id]))}`;
    else link.removeAttribute("href");
    link.ariaDisabled = few ? null : true;
    link.title = few ? "The pages of these jobs, as JSON Lines" : `At most ${DOWNLOADED} jobs can be downloaded together`;
  }

  $("#match").onclick = ({ target }) => {
    every = true;
    act(target, count);
  };
  $("#clear").onclick = () => table.choose([]);

  root.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-bulk]");
    if (!button) return;
    const { bulk: action, ask: title, text, verb, fields } = button.dataset;
    const number = every ? matching : table.chosen.size;
    const chosen = every ? [] : [...table.chosen].map((id) => table.rows.get(id).seen);
    const back = undoOf(action, chosen);
    const asks = title && !(action === "cancel" && back);
    const words = { number: counted(number, "job") };
    const more = asks ? await ask({ title: filled(title, words), text, fields, verb, bad: ["cancel", "delete"].includes(action) }) : {};
    if (!more) return;
    if (back && number > AT_ONCE) return; // a page has no more rows
    // all that there are is a filter, too
    const filter = { q: which.q, [which.state ? "state" : "created_before"]: [which.state || "2999-01-01"] };
    const whose = every ? { filter } : { ids: [...table.chosen] };
    const body = { action, expected_count: number, ...whose, ...more };
    if (action === "retry") body.scope = "failed";
    if (more.remove) body.action = "remove_tags";
    delete body.remove;
    const done = await act(button, () => post("/jobs/bulk", body));
    if (!done) return;
    table.choose([]);
    if (done.operation) follow(done.operation);
    else say(body.action, done.succeeded, done.failed, done.results.find(({ ok }) => !ok), undo(body, done, chosen));
  });

  /** Return what takes *action* back for each of *jobs*, undefined where it cannot be for one of them. */
  function undoOf(action, jobs) {
    const reversals = jobs.map((job) => (job.due_in_s > 0 ? null : BACK[action]?.(job)));
    // what waits for its time would start at once
    return jobs.length && reversals.every(Boolean) ? new Map(jobs.map((job, n) => [job.id, reversals[n]])) : undefined;
  }

  function undo({ action, tags }, { results }, chosen) {
    const good = new Set(results.filter(({ ok }) => ok).map(({ id }) => id));
    const steps = new Map(); // by action, in their order: the ids
    const step = (name, id) => steps.set(name, [...(steps.get(name) ?? []), id]);
    const back = undoOf(action, chosen);
    for (const { id, tags: oldTags = [] } of chosen.filter((job) => good.has(job.id))) {
      for (const name of back?.get(id) ?? []) step(name, id);
      if (action === "add_tags") for (const tag of tags) if (!oldTags.includes(tag)) step(`remove_tags ${tag}`, id);
      if (action === "remove_tags") for (const tag of tags) if (oldTags.includes(tag)) step(`add_tags ${tag}`, id);
    }
    if (!steps.size) return undefined;
    return async () => {
      for (const [name, ids] of [...steps].sort(([a], [b]) => (a === "pause") - (b === "pause"))) {
        const [verb, ...words] = name.split(" ");
        const answer = await post("/jobs/bulk", { action: verb, ids, ...(words.length && { tags: [words.join(" ")] }) });
        const wrong = answer.results.find(({ ok }) => !ok);
        if (wrong) toast(`Not undone for ${counted(answer.failed, "job")}. ${wrong.detail}`, { bad: true });
      }
    };
  }

  function say(action, good, bad, first, back) {
    const done = action === "remove_tags" ? "Tags removed" : $(`[data-bulk=${action}]`).dataset.said;
    if (bad) toast(`${done}: ${int(good)} of ${counted(good + bad, "job")}. ${first.detail}`, { bad: true, undo: good ? back : undefined });
    else toast(`${done}: ${counted(good, "job")}`, { undo: back });
    if (action === "delete") table.reload().catch(complain);
  }

  /** Show an operation while it runs, also past a restart of the server. */
  async function follow(operation) {
    if (followed === operation.id) return;
    const box = $("#operation");
    followed = operation.id;
    $("button", box).onclick = ({ target }) => act(target, () => post(`/operations/${operation.id}/cancel`));
    while (operation.state === "running") {
      fill(box, operation);
      draw($(".pb", box), { ...operation, way: operation.done / operation.total, found: operation.total });
      box.hidden = false;
      await new Promise((resolve) => setTimeout(resolve, 500));
      operation = await get(`/operations/${operation.id}`).catch((error) => (error.status && error.status < 500 ? { error } : operation));
    }
    box.hidden = true;
    followed = "";
    if (operation.error) return complain(operation.error);
    say(operation.request.action, operation.done - operation.failed, operation.failed, operation.failures[0]);
    await table.reload().catch(complain);
  }

  load(async () => {
    const [last] = (await get("/operations?limit=1")).items;
    if (last?.kind === "jobs" && last.state === "running") follow(last);
  });

  return {
    chose,
    /** Take note of how many match; *more*: the count stopped there. */
    async counted(number, more) {
      stopped = more;
      // a bulk action names how many jobs it expects: these are counted in full
      matching = every && more ? (await get(`/jobs${query({ ...which, count: "exact", limit: 1 })}`)).total : number;
      chose(table.chosen, every);
    },
  };
}
