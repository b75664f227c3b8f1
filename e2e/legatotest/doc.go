// Package legatotest is the harness of tests that run the real program: it builds legato once, starts and stops it,
// starts nats-servers of their own processes, plays Telnyx, and reads what was published.
package legatotest
