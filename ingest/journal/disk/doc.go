// Package disk is the log on the local disk, for the one process with an embedded NATS: a write-ahead log in which
// appends that come together share one sync. What it promises is in package journal.
//
// Entries reach the fold and the queue from memory as soon as they are durable; none passes through NATS on its way to a
// summary. Positions are the log's own: contiguous, from 1, and they never go back.
//
// The stream of events is a copy of the log for readers: the entry at a position stands in it at the same sequence. It is
// made by publications in order, each on condition of the one before, goes on after a restart where the stream ends, and
// holds back trimming, never an append. Neither the copy nor the summaries are synced one by one: the log keeps what they
// come from until NATS has synced them, and after a start the queue hands out again what may have been lost with the power.
package disk
