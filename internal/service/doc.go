// Package service wires the rooms into one process and runs it: settings, secrets, the connection to NATS or the
// embedded server, streams, ingest, enrich, publish, the admin listener with readiness and metrics, questions over
// NATS, and traces.
//
// In go settings; out comes a running service with its addresses. A failed start and a stop tear down the same
// stack in the same order: webhooks first, then the work, the fold, the log, and NATS last.
//
// It knows all rooms and decides nothing about calls.
package service
