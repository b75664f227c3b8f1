// Package session is the fold of the log: what is known about every live call.
//
// In go the log's entries, in order; out come views of a session and its legs,
// complete up to a known position, and the checks that have become due.
//
// It guarantees that a view does not depend on the order in which events
// arrived, on how often, or through which replica; that everything it decides is
// a function of the log and its clock, so that all replicas decide alike (also that
// nobody was there to write it for a while, and which legs may lack something for
// it); and that a session is remembered until nothing can be due for it any more.
//
// When a session is forgotten hangs on the queue as well, which the log does not
// show: after a replay a table can know one that others have forgotten, and add to it what for them
// is a new one. Whoever publishes holds a view against what is stored for that reason.
//
// It does not know what has been published, and it makes no summary.
package session
