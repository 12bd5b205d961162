/** A look at one row beside the list, without leaving it: on a phone, a sheet over it. */
import { $, bind, complain, copy, get, later, lock, may, rows } from "../core/all.js";
import { grouped } from "./problems.js";

const MOST = 4; // kinds of problems

export class Peek {
  id = null; // of the job that it shows
  #asked = ""; // whose problems it has, and how many there were

  constructor(root, dress) {
    Object.assign(this, { root, dress });
  }

  get open() {
    return !this.root.hidden;
  }

  toggle(job) {
    if (this.open && this.id === job.id) this.close();
    else this.show(job);
  }

  close() {
    this.root.hidden = true;
    this.id = null;
  }

  show(job) {
    if (!this.paint) {
      this.root.replaceChildren(copy("peeked"));
      lock(this.root);
      this.paint = bind(this.root);
    }
    const reason = job.outcome?.startsWith("Stopped") ? job.outcome : job.why || job.detail || "";
    this.id = job.id;
    this.paint({ ...job, reason, place: [job.host || job.title, job.by].join(" · ") });
    this.dress(this.root.firstElementChild, { ...job, id: null });
    this.root.hidden = false;
    const key = `${job.id} ${job.failed}`;
    if (key === this.#asked) return;
    if (!key.startsWith(this.#asked.split(" ")[0]) || !job.failed) $(".troubles", this.root).hidden = true;
    this.#asked = key;
    if (job.failed && may("results:read")) this.#look();
  }

  /** Ask what failed, once the row is stayed at. */
  #look = later(200, async () => {
    const { id } = this;
    if (!id) return;
    try {
      const { items } = await get(`/jobs/${id}/errors?by_status=true`);
      if (id !== this.id) return;
      rows($(".troubles ul", this.root), "trouble", grouped(items, {}).slice(0, MOST).map(({ samples: [first], ...problem }) => ({ ...problem, first: first?.[0] ?? "" })));
      $(".troubles", this.root).hidden = !items.length;
    } catch (error) {
      complain(error);
    }
  });
}
