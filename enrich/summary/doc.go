// Package summary is the published contract: what a consumer reads from NATS
// about one leg or one session of a call, and what it means.
//
// It holds the JSON shapes, what counts as their content (and so makes a
// revision), the difference between two revisions, and the merge of late news
// onto a summary whose call has left the log. It is a leaf: it does not know
// how a summary is made or carried.
//
// A summary is bounded: its lists by number (Bound), the whole by its size (Fit).
//
// Throughout, an absent field means "not known"; null is never written.
// Consumers ignore fields that they do not know; within schema 1 fields are
// added, never renamed, retyped or removed.
package summary
