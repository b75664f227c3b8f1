// Package consumers_test runs the consumers and the SQL of this directory, each
// where what it needs is at hand.
package consumers_test
