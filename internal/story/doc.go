// Package story tells what is known about one call: which entries of the log are
// about it, what was published when and why, what is missing, and what is to come.
//
// In go what others have read (the view of the fold, entries of the log, stored summaries, parked messages);
// out comes a Story, in the order in which Legato learned, which encodes to JSON.
//
// It guarantees that a story says how much of the log it was made from; that it
// never holds digits, names, texts or a client state; and that a masked one holds no whole
// phone number. It is a pure function of what goes in.
//
// It does not know where any of it was read, nor how it is shown.
package story
