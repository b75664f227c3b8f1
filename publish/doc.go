// Package publish puts summaries onto the stream of summaries, each revision
// exactly once, and reads back what stands there.
//
// In goes a [summary.Draft] with what its maker believes to be stored before it;
// out comes the stored summary, or [ErrRefused]: somebody published in between, or
// this very message is there already. Which of the two only a read tells ([Publisher.Last]).
//
// What it guarantees:
//   - Of any number of publishers that race for a revision of one key, one succeeds,
//     also when they do not agree on the connection that the subject names.
//   - An error that is neither ErrRefused nor [ErrInvalid] is one of infrastructure; the
//     message may be stored or not. Publishing again is safe, reading first is cheaper.
//   - "Nothing is stored" is an answer of its own, never an error swallowed.
//
// It does not know what a summary says, nor when one is due. Subjects, headers and
// their meaning for consumers are in publisher.go and message.go.
package publish
