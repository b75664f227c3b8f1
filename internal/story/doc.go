// Package story tells what is known about one call: which entries of the log are about it, what was published when
// and why, what is missing, and what is to come.
//
// Sources reads the parts for a Query: the live table, the log, the stored summaries, the parked messages. Compose
// makes a Story of them, in the order in which Legato learned, which encodes to JSON. Ladder draws it as text.
//
// It guarantees that a story says how much of the log it was made from; that it never holds digits, names, texts or a
// client state; and that a masked one holds no whole phone number. Compose and Ladder are pure functions; only
// Sources reads.
//
// It does not know who asks, nor over what.
package story
