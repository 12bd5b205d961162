/** One stream for all tabs of a browser, which has six connections to a server in all. */
import { listen } from "./stream.js";

const ports = new Set();
const standing = new Map(); // the last message of each kind, for new tabs
const KEPT = new Set(["hello", "counts", "workers", "status"]);
let stream;

function tell(name, data) {
  if (data.is === "out") standing.clear(); // the next user may be another one
  else if (KEPT.has(name)) standing.set(name, data);
  for (const port of ports) port.postMessage([name, data]);
}

onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data === "bye") return ports.delete(port);
    const { names, seq } = data;
    ports.add(port);
    for (const message of standing) port.postMessage(message);
    if (stream?.past(seq)) port.postMessage(["resync", {}]); // its page may have been read before the last events
    if (stream) stream.reopen();
    else stream = listen(names, tell, seq);
  };
};
