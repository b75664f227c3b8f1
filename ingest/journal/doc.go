// Package journal is the log on JetStream: every accepted webhook and everything
// that Legato learns or decides about a call is one message in it.
//
// In go entries to append; out come the same entries, in order and complete to
// whoever follows the log, and one by one to whoever works its queue.
//
// What it guarantees:
//   - Append returns a receipt only when the server has stored the entry, and
//     returns within two seconds; at once while the connection is known to be down.
//   - An id is stored once within the server's duplicate window, whichever
//     replicas append it and however often.
//   - A log that is nearly full refuses events, and still takes what Legato
//     itself appends, without which it could not be trimmed.
//   - A follower starts anew rather than reading a log with a hole or the
//     entries of another log, unless the log itself has lost entries.
//   - A task of the queue comes again until it is acknowledged.
//   - Follow and Queue.Work survive the loss of the connection, of the server and of
//     the stream, and when they have returned they call nobody any more.
//
// It does not know what the entries mean.
package journal
