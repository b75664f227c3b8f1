// Package compose says what a summary says: it makes the summary of a leg or a session from a view of the
// fold, merges late news onto a stored summary whose call has left the log, fits the result to the
// size of a message, and compares two revisions.
//
// Everything here is a function of its arguments: no clock, no I/O, no state. The order in which events
// came in never matters. A summary is bounded: its lists by number, the whole by its size (FitLeg, FitSession).
//
// It does not know when a summary is due, nor how one is stored.
package compose
