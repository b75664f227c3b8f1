package telnyx

// Reason is why a body cannot be used as a call event: a short stable word that
// can stand as a subject token and as a metric label.
type Reason string

// Reasons, in the order in which they are looked for: the first that applies is given.
const (
	// ReasonNotJSON: the body is not one JSON object.
	ReasonNotJSON Reason = "not_json"
	// ReasonPortal: the form that the portal and the call events API show, which
	// is never delivered: with webhook_id in place of data, or wrapped, with metadata.event.
	ReasonPortal Reason = "portal"
	// ReasonNoType: no event type is stated.
	ReasonNoType Reason = "no_type"
	// ReasonAPIv1: webhook API version 1: no data, and an event type without dots, as in "call_hangup".
	ReasonAPIv1 Reason = "api_v1"
	// ReasonNoCall: an event of a call product that names neither session, leg nor call control id.
	ReasonNoCall Reason = "no_call"
	// ReasonOtherProduct: an event of another product. An unknown type that
	// names a call is no such event: new call event types come every few weeks.
	ReasonOtherProduct Reason = "other_product"
	// ReasonBadID: the type or an id of the call cannot stand in a subject or a header.
	ReasonBadID Reason = "bad_id"
)

// Reasons returns every Reason.
func Reasons() []Reason {
	return []Reason{
		ReasonNotJSON, ReasonPortal, ReasonNoType, ReasonAPIv1, ReasonNoCall, ReasonOtherProduct, ReasonBadID,
	}
}

// Unusable is the error of a body that no decoder will ever take as a call
// event: it is to be parked, not sent again.
type Unusable struct {
	// Reason says why.
	Reason Reason
	// Field is the wire name of the field at fault when Reason is ReasonBadID, else
	// empty. The field's value is never part of the error.
	Field string
}

// Error implements error.
func (u *Unusable) Error() string {
	text := "telnyx: unusable webhook: " + string(u.Reason)
	if u.Field != "" {
		text += " (" + u.Field + ")"
	}
	return text
}
