// Package fake plays Telnyx: it invents phone calls and posts their signed
// webhooks, for tests, for "legato simulate" and for "legato demo".
//
// Three parts can be used apart. A Generator invents calls: what Telnyx would
// send about them, and the truth that its status API would know. It is a pure
// function of seed, number and start, so a run can be repeated. Disorder makes
// the deliveries of a call as untidy as the real ones: twice, out of order,
// late, never. A Player posts the deliveries of many calls to a webhook URL at
// their time, tries again what Telnyx would try again, and keeps a Ledger of
// what was accepted.
//
// The bodies have the event types, the fields and the id forms of Telnyx's
// Call Control webhooks, API version 2. All numbers are from the block that is
// reserved for fiction, all hosts from the names and addresses reserved for
// documentation.
//
// The package knows nothing of the service that it tests. It does not serve the
// status API either: Config.OnCall hands the truth about a call to whoever does.
package fake
