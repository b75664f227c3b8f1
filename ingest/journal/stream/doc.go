// Package stream is the log on JetStream, for replicas: each entry is one message of a stream. What it promises is in
// package journal.
//
// Beside that, while the connection is known to be down Append fails at once, and an id is stored once within the
// server's duplicate window, whichever replicas append it. Follow and Queue.Work survive the loss of the connection, of
// the server and of the stream.
package stream
