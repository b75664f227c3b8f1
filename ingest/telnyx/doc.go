// Package telnyx is the webhook wire: how Telnyx signs a webhook, how it
// envelopes an event, and which bodies are no call events at all.
//
// In go the bytes of a request and its two signature headers; out come [call.Event] or, cheaper, the [Envelope]
// that is enough to store one. Input that cannot be used has a [Reason]; nothing from outside makes
// this package panic, and what it costs is bounded by the length of the body.
//
// Decoding is lenient, because Telnyx marks no field as required and its samples differ from its deliveries: a
// field that is missing, null or of the wrong type is not stated, unknown fields are passed over, numbers may come
// as text and amounts as numbers. ParseEnvelope and Decode always agree on the identity, type and call of a body,
// and on why it is unusable.
//
// The details of an event are bounded as package call says, because they stay in memory; what is longer is
// truncated and says so. Secrets that no summary needs are not read at all: what names or masks a card or a payer,
// where media is streamed to, the user, password and query of a medium's URL. The digits that a caller entered are
// read only for whoever asks for them: of the others' events nothing but their number stays.
//
// The package knows nothing of HTTP answers, of the log, or of what a call's events mean together.
package telnyx
