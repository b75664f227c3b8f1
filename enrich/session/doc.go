// Package session is the fold of the log: what is known about every live call.
//
// In go the log's entries, in order; out come views of a session and its legs,
// complete up to a known position, and the checks that have become due.
//
// It guarantees that a view does not depend on the order in which events
// arrived, on how often, or through which replica; that everything it decides is
// a function of the log and its clock, so that all replicas decide alike; and
// that a session is remembered until nothing can be due for it any more.
//
// It does not know what has been published, and it makes no summary.
package session
