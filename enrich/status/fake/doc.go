// Package fake is a status API to test against: it answers
// GET /calls/{call_control_id}, GET /call_events and
// GET /connections/{connection_id}/active_calls as Telnyx does, for tests, for "legato
// simulate" and for "legato demo".
//
// It is told the truth about calls and gives it away only as Telnyx would: to
// who has the key, for ten minutes after the end, and with the failures that it
// is asked to have, scripted for a call or at random. It counts what it is asked,
// so that a test can say "once".
//
// It knows nothing of webhooks but the bytes that it was given for the history. Errors have Telnyx's codes and shapes, times its
// three digits.
package fake
