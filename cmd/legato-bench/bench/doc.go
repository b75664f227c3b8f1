// Package bench is the measuring stick of `go run ./cmd/legato-bench`: it builds signed webhooks,
// drives a server with them, and makes a report of what was measured.
//
// In go a shape and a key, and the address of any server that takes webhooks; out come
// a [Workload], the [Result] of driving it, and a [Report] with its table and goals.
//
// Everything that costs is done before the clock starts: a request is bytes that are
// written, an answer a status that is read. Latency at a fixed rate counts from the time that the
// schedule said, not from the time that the request could be sent, so a server that
// stalls cannot hide the webhooks that would have come meanwhile.
//
// It does not know what it drives, and starts no process.
package bench
