// Package call holds the nouns of a phone call: the ids that tie its webhooks together, the events that Telnyx
// reports about it, and the entries of the log in which Legato keeps them.
//
// It is a leaf: it knows neither JSON nor NATS nor HTTP, imports nothing but the
// standard library, and every room may import it. The wire format of an event is
// the business of package telnyx, its storage that of package journal.
package call
