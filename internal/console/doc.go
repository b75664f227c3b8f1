// Package console is the pages that people look at calls with: one call with its ladder, finding one, the last ones,
// the live ones, what is parked, and how the service does.
//
// In goes what the service knows (Config); out comes HTML, on a listener of its own. It guarantees that numbers,
// names, texts and addresses of recordings are masked unless a user who may see them asks for it, of which it logs a
// line; that nobody beyond loopback gets in without a login; that what a caller or a sender wrote is text on a page
// and never markup; and that everything it reads is bounded, whoever looks.
//
// It decides nothing about calls. It makes three things happen, each only when somebody posts a form: what is parked
// is put back, an event is forwarded once more, a test call is sent.
package console
