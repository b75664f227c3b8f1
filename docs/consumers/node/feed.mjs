// Reads the raw feed, and says of each event whether it is from Telnyx.
//
//   npm install
//   TELNYX_PUBLIC_KEY=… NATS_URL=nats://127.0.0.1:4222 node feed.mjs 2201234567890123456
//
// Telnyx's SDK checks the signature of what is younger than 300 seconds. What waited longer in the log is checked here, and what
// Legato filled in from Telnyx's history has no signature.
import { createPublicKey, verify } from "node:crypto";
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import Telnyx from "telnyx";

const publicKey = process.env.TELNYX_PUBLIC_KEY;
const telnyx = new Telnyx({ apiKey: process.env.TELNYX_API_KEY ?? "not needed to verify", publicKey });
const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(publicKey, "base64")]);
const key = createPublicKey({ key: der, format: "der", type: "spki" });
const sdkTolerance = 300; // seconds

// The SDK reads a plain object; the headers object of NATS, or Object.fromEntries of it, it does not.
const signed = (m) => ({
  "telnyx-signature-ed25519": m.headers?.get("Telnyx-Signature-Ed25519") ?? "",
  "telnyx-timestamp": m.headers?.get("Telnyx-Timestamp") ?? "",
});

async function origin(m) {
  if (m.headers?.get("Legato-Source") === "backfill") return "history";
  const headers = signed(m);
  const { "telnyx-signature-ed25519": signature, "telnyx-timestamp": timestamp } = headers;
  try {
    if (Date.now() / 1000 - Number(timestamp) < sdkTolerance) {
      await telnyx.webhooks.unwrap(m.string(), { headers });
      return "telnyx";
    }
    const text = Buffer.concat([Buffer.from(`${timestamp}|`), m.data]);
    return verify(null, text, key, Buffer.from(signature, "base64")) ? "telnyx" : "unknown";
  } catch {
    return "unknown";
  }
}

const nc = await connect({ servers: (process.env.NATS_URL ?? "nats://127.0.0.1:4222").split(",") });
const durable = "feed-node";
await (await jetstreamManager(nc)).consumers.add("CALL_EVENTS", {
  durable_name: durable,
  ack_policy: AckPolicy.Explicit,
  filter_subject: `calls.event.${process.argv[2] ?? "*"}.>`,
});
const messages = await (await jetstream(nc).consumers.get("CALL_EVENTS", durable)).consume();
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => messages.stop());
for await (const m of messages) {
  console.log(m.subject.split(".").slice(3).join("."), await origin(m)); // do your work here; an event can come twice
  m.ack();
}
await nc.drain();
