// Package dataset keeps a folder of Parquet files current: kind=leg|session/date=YYYY-MM-DD/hour=HH/*.parquet, by the hour,
// in UTC, in which the log took the first event of the leg or session.
//
// In go the batches of package load; out come nested Parquet files, each message a row, and the manifest that says which
// files are in.
//
// What it guarantees:
//   - A batch is in the dataset when the manifest that names its files has taken the place of the one before, and not earlier:
//     a reader of the manifest sees all of it or nothing.
//   - Each message is in once. The manifest names the messages that are in, too, so one that is delivered again is known.
//   - A file has its name only when it is whole, and is never changed. One that was merged into another stays for some minutes.
//   - Small files are merged, those of an hour that is over until they are large.
//   - One process writes at a time. Others wait until it ends.
//
// What is killed leaves files that no manifest names; the next process removes them.
package dataset
