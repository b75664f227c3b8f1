// Package journal is the log on JetStream: every accepted webhook and everything
// that Legato learns or decides about a call is one message in it.
//
// In go entries to append; out come the same entries, in order and complete to
// whoever follows the log, and one by one to whoever works its queue.
//
// It guarantees that Append returns a receipt only when the server has stored
// the entry; that an id is stored once within the server's duplicate window;
// that a follower is told to start anew rather than shown a log with a hole; and
// that a task of the queue comes again until it is acknowledged.
//
// It does not know what the entries mean.
package journal
