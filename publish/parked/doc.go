// Package parked keeps input that is genuine and of no use: signed webhooks that are no call events,
// and entries of the log on which the work has failed. In goes a [call.Parked] with the reason; out come the same
// bytes and headers, until they are put back and removed, or have aged out of the stream.
//
// What it guarantees:
//   - The body is stored byte for byte, beside what checks its signature again.
//   - The same bytes of the same entry are stored once within the stream's duplicate window.
//   - "There is no such message" is an answer of its own ([ErrNotFound]), never an infrastructure error.
//
// It does not know why something is parked, nor what would become of it now.
package parked
