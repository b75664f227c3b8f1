// Package forward hands stored webhooks on to applications: the same bytes under the same signature, once
// they are in the log, and only while they are of use.
//
// In go the events of the log's stream; out go HTTP requests to the targets ([Target]), and a record of every
// attempt. One question is asked of the rest of Legato ([Calls]): is this leg over?
//
// What it guarantees:
//   - Each event that a target's filter takes reaches the target at least once, or ends as refused, stale or
//     expired; each such end is counted, logged and recorded. An event is sent twice only around a crash of
//     Legato, of NATS or of the target.
//   - The events of one session reach a target in the order of the log, one after another. The exception is an
//     event that only reports: when it fails it is set aside, and is tried again later than its followers. Where a
//     replica is followed by another with an attempt under way, and that one finds the leg over, the attempt can
//     arrive behind what follows.
//   - An event on which the application commands is never sent once its leg is over, but in proxy mode while Telnyx
//     waits for the answer.
//   - One replica at a time works a target; another one takes its place within about two seconds.
//   - A target that is slow or dead costs bounded memory, and one probe at a time.
//
// It does not know how a webhook is received, what a summary says, nor how a call is folded.
package forward
