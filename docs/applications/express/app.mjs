// A Call Control application on Telnyx's SDK that answers every call. Nothing in it knows of Legato.
//
//   npm install
//   TELNYX_API_KEY=KEY… TELNYX_PUBLIC_KEY=… PORT=3000 node app.mjs
import express from "express";
import Telnyx from "telnyx";

const telnyx = new Telnyx(); // TELNYX_API_KEY and TELNYX_PUBLIC_KEY
const app = express();
app.post("/webhooks", express.raw({ type: "application/json" }), async (req, res) => {
  let event;
  try {
    event = (await telnyx.webhooks.unwrap(req.body.toString(), { headers: req.headers })).data;
  } catch (err) {
    return res.status(400).send(err.message); // not from Telnyx, or too old
  }
  if (event.event_type === "call.initiated" && event.payload.direction === "incoming") {
    // The same command_id twice is one command: a repetition of the webhook does no harm.
    await telnyx.calls.actions.answer(event.payload.call_control_id, { command_id: event.id });
  }
  res.sendStatus(200); // only when it is done: what is answered otherwise comes again
});
app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log("listening"));
