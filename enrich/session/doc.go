// Package session is the fold of the log: what is known about every call that is not finished.
//
// In go the log's entries, in order; out come views of a session and its legs, complete up to a known position, and
// the checks that have become due.
//
// It guarantees that a view does not depend on the order in which events arrived, on how often, or through which
// replica; that everything it decides is a function of the log and its clock, so that all replicas decide alike (also
// that nobody was there to write it for a while, and which events may be missing for that reason); and that a session
// is remembered until nothing can be due for it any more.
//
// When a session is forgotten depends on the queue as well, which the log does not show. After a replay a table can
// know a session that others have forgotten, and fold into it an event that starts a new session for them. A view is
// compared with what is stored before it is published for that reason.
//
// Table is the lock around four parts: the fold (entries become what is known of sessions and legs), identity (which
// sessions and legs are known, and by which ids), the schedule (what is due next) and the tally (the sums that
// balance).
//
// It does not know what has been published, and it makes no summary.
package session
