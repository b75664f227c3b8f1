// Package enrich finds what is due for a call, and does it: it asks for the
// status of a leg that is over, completes one that has holes from the provider's
// history, makes the summaries of legs and sessions, has them published, and amends
// them when late news comes.
//
// It is given the entries of the log (folded into the table of package session) and the
// tasks of its queue. It gives status answers, checks and events from the history,
// appended to the log, and summaries.
//
// It guarantees that a task is acknowledged only when, in a view of the log that
// includes it, nothing of it is left to publish; and that what is published never replaces
// a view of the call that knew more. Exactly-once follows from the sink's condition and this package's
// comparison (reconcile): no replica knows of another.
//
// It does not know HTTP, JetStream or the wire format of a webhook.
package enrich
