// Package fake plays Telnyx: it invents phone calls, posts their signed webhooks, and answers what is
// asked of the API about them; for tests, for "legato simulate" and for "legato demo".
//
// Its parts can be used apart:
//   - A [Generator] invents calls: what Telnyx would send about them, and the truth that its API would know.
//     It is a pure function of seed, number and start, so that a run can be repeated.
//   - [Disorder] makes the deliveries of a call as untidy as the real ones: twice, out of order, late, never.
//   - A [Player] posts the deliveries of many calls to a webhook URL at their time, tries again what
//     Telnyx would try again, and keeps a [Ledger] of what was accepted.
//   - An [API] answers GET /calls/{call_control_id}, GET /call_events and
//     GET /connections/{connection_id}/active_calls. It knows the truth about calls and gives it away only as Telnyx
//     would: to who has the key, for ten minutes after the end, and with the failures that it is
//     asked to have, scripted for a call or at random. It counts what it is asked, so that a test can say "once".
//
// Bodies have the event types, fields and id forms of Telnyx's Call Control webhooks, API version 2; errors have
// Telnyx's codes and shapes. All numbers are from the block that is reserved for fiction, all hosts
// from the names and addresses reserved for documentation.
//
// The package knows nothing of the service that it tests.
package fake
