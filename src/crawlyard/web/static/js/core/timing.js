/** Debounce and throttle. */

/** Debounce: call *work* after *ms* without calls. */
export function later(ms, work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

/** Throttle: call *work* *ms* after the first call, once for all calls until then, at least *apart_ms* apart. */
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
