/** A week of all schedules: what begins in each hour, and where more begins than there are slots. */
import { $, $$, complain, counted, date, get, keys, load, on, query, rows, soon, write } from "../core/all.js";

const cells = $$("#grid button"); // hour by hour, in each the seven days
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
const MANY = 8; // runs in an hour, which are as dark as can be
const day = (n) => new Date(shown.getFullYear(), shown.getMonth(), shown.getDate() - ((shown.getDay() + 6) % 7) + n);
const place = (at) => at.getHours() * 7 + ((at.getDay() + 6) % 7);
let shown = new Date();
let current = place(shown);
let hours = cells.map(() => []);
let slots = 0;

async function show() {
  const mine = shown;
  const days = [0, 1, 2, 3, 4, 5, 6, 7].map(day);
  // an answer has at most 2,000 runs: a day each
  const found = await Promise.all(days.slice(1).map((to, n) =>
    get(`/schedules/calendar${query({ from: days[n].toISOString(), to: to.toISOString() })}`)));
  if (mine !== shown) return; // the user has gone on
  hours = cells.map(() => []);
  for (const run of found.flatMap((one) => one.occurrences)) hours[place(new Date(run.due_at))].push(run);
  $("#cut").hidden = found.every((one) => one.whole);
  $("#empty").hidden = hours.some((runs) => runs.length);
  write($("#range"), `${date(days[0])} – ${date(days[6])}`);
  $$("#grid th[id]").forEach((th, n) => {
    write(th, date(days[n]));
    th.ariaCurrent = date(days[n]) === date(new Date()) && "date";
  });
  draw();
}

function draw() {
  cells.forEach((cell, i) => {
    const due = hours[i].filter((run) => run.enabled).map((run) => run.due_at);
    const clash = slots > 0 && due.some((at, n) => at === due[n + slots]);
    cell.className = clash ? "clash" : due.length ? "runs" : hours[i].length ? "held" : "";
    cell.style.setProperty("--n", Math.min(1, due.length / MANY));
    write(cell, due.length ? String(due.length) : "");
    cell.ariaLabel = `${date(day(i % 7))}, ${Math.floor(i / 7)}:00: ${counted(due.length, "run")}${clash ? ", more at one moment than slots" : ""}`;
  });
  write($("#slots"), String(slots));
  tell(current);
}

/** Tell what begins in hour *i* of the week. */
function tell(i) {
  cells[current].tabIndex = -1;
  cells[(current = i)].tabIndex = 0;
  write($("#which"), cells[i].ariaLabel);
  rows($("#runs"), "run", hours[i]);
}

const again = () => show().catch(complain);
const point = ({ target }) => cells.includes(target) && tell(cells.indexOf(target));
$("#grid").addEventListener("focusin", point);
$("#grid").onpointerover = point;
$("#grid").onkeydown = (event) => {
  const to = cells[current + STEPS[event.key]];
  if (to) event.preventDefault(to.focus());
};
const turns = $$("[data-turn]"); // a week back, to this week, a week on
for (const el of turns) el.onclick = () => again((shown = el.dataset.turn ? day(+el.dataset.turn) : new Date()));
keys({ "[": () => turns[0].click(), "]": () => turns[2].click() });
load(show);
on("schedule.*", soon(1000, again));
on("workers", ({ workers }) => {
  slots = workers.reduce((sum, one) => sum + (one.alive && one.slots), 0);
  draw();
});
