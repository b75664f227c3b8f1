// Package status asks Telnyx what became of a call: it is the client of
// GET /calls/{call_control_id}, and of two lists that help where webhooks were lost:
// GET /call_events, what a leg's webhooks said (History), and
// GET /connections/{connection_id}/active_calls, which legs are alive (used by Sweep where many are asked about).
//
// In goes a call.Ref; out comes an Answer, one attempt's result as plain data.
// Every attempt that was made yields an Answer, also one that failed: "not yet"
// (alive), "not found" and "could not ask" are different results, and the caller
// writes each of them to the log. The only error is that the context
// ended first, so that a shutdown is never recorded as an attempt.
//
// The client guarantees bounds, whoever calls it from however many goroutines:
// requests in flight, requests per second, time per request, bytes per body, and
// after a 429 silence from all callers until Telnyx said they may speak again. Whoever
// has to wait for a turn keeps its place in line, and while anybody waits no turn is left out. It
// asks once and does not retry: when to ask again is the caller's schedule.
//
// It knows neither what an answer means for a summary nor how it is stored, nor
// what a row of the history says. The API key appears in the Authorization header of its requests and nowhere else.
package status
