/** Event stream: reconnects from the last event. */
const AGAIN_MS = 1000;
const SILENT_MS = 45000; // the server sends a ping every 15 s

/** Listen to the events of these *names* after number *last*; *tell(name, data)* receives them, and "status". */
export function listen(names, tell, last) {
  let source, timer;
  let activeAt; // last message or connection attempt
  let freshAt = Date.now(); // last message from a server with a store
  let stale = false; // the server has no store

  function open() {
    activeAt = Date.now();
    source?.close();
    source = new EventSource(`/api/v1/events/stream?after=${last}`);
    for (const name of names) source.addEventListener(name, receive);
    source.onerror = reconnect;
  }

  function receive({ type, data, lastEventId }) {
    activeAt = Date.now();
    const content = JSON.parse(data);
    if (lastEventId) last = +lastEventId;
    if (!(content.stale ?? stale)) freshAt = activeAt;
    tell(type, content);
    if (type === "hello" || (type === "ping" && content.stale !== stale)) {
      stale = content.stale ?? false;
      tell("status", stale ? { is: "away", since: freshAt } : { is: "live" });
    }
  }

  async function reconnect() {
    source.close();
    clearTimeout(timer);
    tell("status", { is: "away", since: freshAt });
    const answer = await fetch("/api/v1/auth/me").catch(() => null);
    if (answer?.status === 401) tell("status", { is: "out" });
    else timer = setTimeout(open, AGAIN_MS);
  }

  open();
  setInterval(() => Date.now() - activeAt > SILENT_MS && source.readyState === 1 && reconnect(), 5000);
  return {
    /** Return whether there were events after *seq*. */
    past: (seq) => last > seq,
    reopen: () => source.readyState === 2 && (clearTimeout(timer), open()),
  };
}
