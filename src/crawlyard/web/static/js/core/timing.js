/** Debounce and throttle. */

/** Return what calls *work* once nobody has called it for *ms*. */
export function later(ms, work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

/** Return what calls *work* *ms* after it is called, once for all calls until then, and *apart_ms* after the last time. */
export function soon(ms, work, apart_ms = 0) {
  let timer;
  let last = -Infinity;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      last = performance.now();
      work();
    }, Math.max(ms, last + apart_ms - performance.now()));
  };
}
