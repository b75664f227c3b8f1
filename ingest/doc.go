// Package ingest is the webhook server: one request in, one appended event, one status out.
//
// It serves POST /webhooks/telnyx and nothing else. A request is checked (content type, length, signature, age),
// told apart (an event of a call, or input to park), handed to the [Journal] or to the [Parking], and answered:
//
//   - 200 once what was signed is stored, as an event or as parked bytes. No
//     200 is ever sent for something that a restart could lose.
//   - 503 for everything that may pass (the log cannot be written, too much at
//     once, stopping, a clock that is off), and 408 for a body that broke off:
//     Telnyx sends such a webhook again.
//   - another 4xx only for what can never be accepted: Telnyx drops it.
//
// Every refusal is a problem (RFC 9457, application/problem+json) with a member reason, the same word that counts
// it in legato_webhooks_total. There are no redirects. Neither answers nor metrics nor log lines carry phone
// numbers, client_state, bodies, signatures or keys; ids stand in debug lines only.
//
// Anybody may connect. Connections, their time, headers, bodies and the memory for bodies are bounded, and at a
// bound it is the idle, the slow and the strangers that go, so that a sender with the key is heard: see
// connLimiter. The listener speaks TLS where it is given a certificate.
//
// What was parked can be put back: [Retry] says what it becomes now, by the same decision as for a request.
//
// The package does not know how the log works, what events mean, or what becomes of them.
package ingest
