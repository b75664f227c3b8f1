// Package export writes the newest revision of every leg, or of every session,
// from the stream of summaries into a file.
//
// In goes a [Plan]; out comes the file, as NDJSON (bodies as they were published),
// CSV or Parquet (a row each, in the columns of package flat; in nested Parquet lists are lists).
//
// What it guarantees:
//   - The file appears under its name only when it is whole.
//   - It shows the stream as it stood when the export began: what is published
//     meanwhile is left out. Rows are in the order of the stream.
//   - Killed and run again with the same plan it gives the file that an
//     undisturbed run would have given. What it needs for that lies beside the file, as FILE.state and FILE.part.
//   - Memory does not grow with the bodies: 24 bytes and some a summary.
//
// What has left the stream by its age before it was read is missing from the
// file, and counted. It does not know what a summary means.
//
// It works in three steps. The survey reads the headers, and tells which message is the
// newest of its leg or session. The fetch reads the bodies and appends the newest ones to FILE.part,
// noting in FILE.state how far it came. The last step writes them in their format.
package export
