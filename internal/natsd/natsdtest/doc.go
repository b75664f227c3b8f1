// Package natsdtest gives tests a real NATS: an embedded server on a directory
// of its own with the streams of a deployment, or a cluster of three, stopped when the test ends.
package natsdtest
