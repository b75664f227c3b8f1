// Package load keeps a warehouse current: it follows the stream of summaries and
// hands the newest revision of each leg and session to a [Target].
//
// In go the messages of a durable consumer that is the loader's own; out come batches of rows, and
// what cannot be a row, set aside with the reason.
//
// What it guarantees:
//   - A message is acknowledged only after the target has made its effect last, so whatever is killed when, nothing is missed.
//   - The effect of a message does not depend on how often or in which order it is delivered: a [Target] keeps
//     the highest revision, or knows which messages it has.
//     So a crash, a redelivery and a second loader of the same name change nothing.
//   - A row that the target refuses never stops those behind it: the batch is halved until the row stands alone.
//   - A target that is away is waited for, with back-off, and holds no messages back from another loader meanwhile.
//   - Memory is bounded by three batches, whatever the backlog.
//   - A consumer belongs to one target: a name is never shared by two targets, of which each would get a part.
//   - No error, log line or metric shows what is in a summary.
//
// It knows neither SQL nor files: packages postgres, clickhouse and dataset are the targets.
package load
