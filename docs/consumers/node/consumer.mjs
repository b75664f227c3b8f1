// A consumer of Legato's summaries to copy from: it keeps every leg and session
// in a file, each revision once, the newest one last.
//
//   npm install
//   NATS_URL=nats://127.0.0.1:4222 node consumer.mjs calls.ndjson
//
// Messages are delivered at least once and not always in the order of their
// revisions. The file has the effect exactly once: a revision that is not higher than
// what the file has of that id changes nothing, and a message is acknowledged when it is on disk.
import { open, readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";

const stream = "CALLS"; // follows --subject-prefix
const durable = "warehouse-node"; // the server remembers how far it came
const path = process.argv[2];
if (!path) {
  console.error("usage: node consumer.mjs FILE");
  process.exit(2);
}

const id = (s) => `${s.kind} ${s.call_session_id} ${s.call_leg_id ?? ""}`;

// What the file has; a line that a crash left unfinished is cut off.
const newest = new Map();
const data = await readFile(path).catch((err) => {
  if (err.code === "ENOENT") return Buffer.alloc(0);
  throw err;
});
const whole = data.lastIndexOf("\n") + 1;
for (const line of data.subarray(0, whole).toString().split("\n")) {
  if (line === "") continue;
  const s = JSON.parse(line);
  newest.set(id(s), Math.max(newest.get(id(s)) ?? 0, s.revision));
}
const file = await open(path, "a", 0o600);
await file.truncate(whole);

const servers = (process.env.NATS_URL ?? "nats://127.0.0.1:4222").split(",");
const nc = await connect({ servers, maxReconnectAttempts: -1 });

// The consumer, made sure of: it is gone when the stream was removed and made anew.
async function durableConsumer() {
  const manager = await jetstreamManager(nc);
  await manager.consumers.add(stream, {
    durable_name: durable,
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 1000,
    // For one message a call and nothing else: calls.leg.completed.> alone.
    filter_subjects: ["calls.leg.>", "calls.session.>"],
  });
  return await jetstream(nc).consumers.get(stream, durable);
}

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => stop.abort());

// Pauses after a disturbance; they double.
const firstPause = 1000;
const maxPause = 30_000;
let pause = firstPause;
let consumer;

while (!stop.signal.aborted) {
  const taken = [];
  let lines = "";
  let broken;
  // What NATS does not do passes: a server restarts, a leader steps down (409), the stream is made anew.
  try {
    consumer ??= await durableConsumer();
    for await (const m of await consumer.fetch({ max_messages: 500, expires: 1000 })) {
      let s;
      try {
        s = m.json();
      } catch {
        // it stays undefined
      }
      if (!(s?.revision >= 1) || !s.kind || !s.call_session_id) {
        console.error(`not a summary: ${m.subject}`); // never the body: it has phone numbers
        m.term();
        continue;
      }
      taken.push(m);
      if (s.revision <= (newest.get(id(s)) ?? 0)) continue;
      newest.set(id(s), s.revision);
      // As it was published, on one line: JSON.stringify would write 56.0 as 56.
      lines += m.string().replaceAll("\n", " ") + "\n";
    }
  } catch (err) {
    broken = err;
  }
  if (lines !== "") {
    await file.appendFile(lines);
    await file.sync();
  }
  for (const m of taken) m.ack(); // one that is lost brings the message again, which then changes nothing
  if (taken.length > 0) pause = firstPause;
  if (broken) {
    consumer = undefined;
    console.error(`interrupted, trying again in ${pause / 1000} s: ${broken.message}`);
    await setTimeout(pause, undefined, { signal: stop.signal }).catch(() => {}); // or until it is to stop
    pause = Math.min(2 * pause, maxPause);
  }
}
// What was acknowledged is sent; without a server it comes again, and changes nothing.
await Promise.race([nc.drain().catch(() => {}), setTimeout(2000, undefined, { ref: false })]);
await file.close();
process.exit(0);
