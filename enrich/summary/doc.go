// Package summary is the published contract: what a consumer reads from NATS
// about one leg or one session of a call, and what it means.
//
// It holds the JSON shapes, their words, and what names a summary in the stream. It is a
// leaf that needs nothing beyond the standard library: it does not know how a summary is made or carried.
//
// Throughout, an absent field means "not known"; null is never written.
// Consumers ignore fields that they do not know; within schema 1 fields are
// added, never renamed, retyped or removed.
package summary
