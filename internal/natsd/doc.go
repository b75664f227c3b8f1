// Package natsd is where Legato meets NATS: it runs one nats-server inside the process or connects to a cluster
// outside, and sees to the three streams that a deployment lives on.
//
// In go addresses, a data directory, a subject prefix and limits; out come a
// *nats.Conn and a [Layout] of stream and subject names that exist as wanted.
//
// What it guarantees:
//   - An embedded server acknowledges a message when it is on disk, and has its
//     data directory to itself. It does not listen beyond loopback unless it asks
//     its clients for a login.
//   - A connection never buffers a publish while it is disconnected: what is not
//     sent fails at once, and the caller decides.
//   - [Manage] never takes over a stream that is not Legato's, never lowers a
//     replica count, and leaves alone what Legato does not depend on.
//   - A server that is away is waited for; [Transient] tells what else is worth waiting for.
//   - No error and no log line shows a password, a token, or what is in a file of secrets.
//
// It does not know what is in a message.
package natsd
