package compose

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Draft is the summary of a leg or of a session.
type Draft struct {
	// Leg or Session is the summary; the other is nil. It is truncated to fit by Content and Encode.
	Leg     *summary.Leg
	Session *summary.Session
	// Truncated: it did not fit as it was.
	Truncated bool

	// body is how many bytes it may have; 0: it is as it was read.
	body int
	// content is what Content returns; nil: nobody has asked.
	content []byte
}

// LegDraft returns the draft of a leg, in a body of so many bytes at most.
func LegDraft(l summary.Leg, body int) *Draft { return &Draft{Leg: &l, body: body} }

// SessionDraft returns the draft of a session, in a body of so many bytes at most.
func SessionDraft(s summary.Session, body int) *Draft { return &Draft{Session: &s, body: body} }

// Read reads back what is stored under a key. It fails with summary.ErrInvalid.
func Read(k summary.Key, body []byte) (*Draft, error) {
	d := new(Draft)
	var err error
	if k.Kind == summary.KindLeg {
		d.Leg = new(summary.Leg)
		err = json.Unmarshal(body, d.Leg)
	} else {
		d.Session = new(summary.Session)
		err = json.Unmarshal(body, d.Session)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read back the %s: %w", summary.ErrInvalid, k.Kind, err)
	}
	return d, nil
}

// Content returns the JSON of what it says about the call, by which it is compared: see LegContent and SessionContent.
// It fails with summary.ErrInvalid.
func (d *Draft) Content() (content []byte, err error) {
	if d.content != nil {
		return d.content, nil
	}
	if d.Leg != nil {
		content, err = LegContent(*d.Leg)
	} else {
		content, err = SessionContent(*d.Session)
	}
	if err == nil && !d.fits(content) {
		d.Truncated = true
		if d.Leg != nil {
			*d.Leg, content, err = FitLeg(*d.Leg, d.body)
		} else {
			*d.Session, content, err = FitSession(*d.Session, d.body)
		}
	}
	d.content = content
	return content, err
}

// fits reports whether it need not be truncated for its content; its whole JSON is never shorter.
func (d *Draft) fits(content []byte) bool {
	return d.body == 0 || d.Leg != nil && len(content) <= MaxContent(d.body) || d.Session != nil && len(content) <= maxSession(d.body)
}

// Revise returns the draft as the revision that is to follow before, which says what
// changed and why; after nil it is the first. It fails with summary.ErrInvalid.
func (d *Draft) Revise(before *Draft, revision int, at time.Time) (*Draft, error) {
	var changed []string
	if before != nil {
		was, err := before.Content()
		if err != nil {
			return nil, err
		}
		is, err := d.Content()
		if err != nil {
			return nil, err
		}
		if changed, err = Changed(was, is); err != nil {
			return nil, err
		}
	}
	next := *d
	if d.Leg != nil {
		l := *d.Leg
		l.Revision, l.Changed, l.PublishedAt = revision, changed, summary.MustAt(at)
		switch {
		case before != nil:
			l.Reasons = LegReasons(before.Leg, &l)
		case revision > 1: // what stood before is lost: that something is late is all that is known
			l.Reasons = []summary.Reason{summary.ReasonLateEvent}
		}
		next.Leg = &l
		return &next, nil
	}
	s := *d.Session
	s.Revision, s.Changed, s.PublishedAt = revision, changed, summary.MustAt(at)
	switch {
	case before != nil:
		s.Reasons = SessionReasons(before.Session, &s)
	case revision > 1:
		s.Reasons = []summary.Reason{summary.ReasonLateEvent}
	}
	next.Session = &s
	return &next, nil
}

// Encode returns the JSON that is published, and the connection that its subject
// names; that is empty when it is not known. It fails with summary.ErrInvalid.
func (d *Draft) Encode() (body []byte, connection string, err error) {
	if body, err = d.encode(); err == nil && d.content == nil && !d.fits(body) {
		if _, err = d.Content(); err == nil {
			body, err = d.encode()
		}
	}
	if d.Leg != nil {
		return body, d.Leg.ConnectionID, err
	}
	return body, d.Session.ConnectionID, err
}

func (d *Draft) encode() ([]byte, error) {
	if d.Leg != nil {
		return encode(*d.Leg)
	}
	return encode(*d.Session)
}

// LegContent is the JSON of what a leg's summary says about the call, without the
// bookkeeping of its publication: two summaries of equal content are the same
// news. Bookkeeping is revision, changed, reasons, published_at, times, and in
// status the attempts, http_status and fetched_at.
func LegContent(l summary.Leg) ([]byte, error) {
	l.Revision, l.Changed, l.Reasons, l.PublishedAt, l.Times = 0, nil, nil, summary.Time{}, nil
	l.Status.Attempts, l.Status.HTTPStatus, l.Status.FetchedAt = 0, 0, nil
	return encode(l)
}

// SessionContent is the JSON of what a session's summary says about the call, without
// revision, changed, reasons and published_at. The revisions of its legs belong to it: a session
// is revised when a leg of it is.
func SessionContent(s summary.Session) ([]byte, error) {
	s.Revision, s.Changed, s.Reasons, s.PublishedAt = 0, nil, nil, summary.Time{}
	return encode(s)
}

// encode returns the JSON of a summary without U+0000, which stops readers. What is read of webhooks has none; status
// answers and what an earlier release stored can.
func encode(v any) ([]byte, error) {
	body, err := summary.Encode(v)
	if bytes.Contains(body, []byte(`\u0000`)) {
		body = []byte(call.PrintableJSON(string(body)))
	}
	return body, err
}

// Changed returns JSON Pointers (RFC 6901) to what differs between two contents,
// in order; objects are descended into, arrays and scalars stand as a whole.
func Changed(before, after []byte) ([]string, error) {
	var a, b map[string]any
	for _, side := range []struct {
		content []byte
		into    *map[string]any
	}{{before, &a}, {after, &b}} {
		d := json.NewDecoder(bytes.NewReader(side.content))
		d.UseNumber() // 4.030 and 4.03 must not become equal by a float's grace, nor 1e20 different
		if err := d.Decode(side.into); err != nil {
			return nil, fmt.Errorf("%w: compare two summaries: %w", summary.ErrInvalid, err)
		}
	}
	var changed []string
	diff("", a, b, &changed)
	return changed, nil
}

func diff(at string, a, b map[string]any, changed *[]string) {
	names := slices.Collect(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		pointer := at + "/" + pointerEscaper.Replace(name)
		x, inA := a[name]
		y, inB := b[name]
		ox, isObjectX := x.(map[string]any)
		oy, isObjectY := y.(map[string]any)
		switch {
		case isObjectX && isObjectY:
			diff(pointer, ox, oy, changed)
		case inA != inB || !reflect.DeepEqual(x, y):
			*changed = append(*changed, pointer)
		}
	}
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// LegReasons say why a leg is revised.
func LegReasons(before, after *summary.Leg) []summary.Reason {
	var reasons []summary.Reason
	if before.Status.State != after.Status.State || before.Status.Final != after.Status.Final {
		if after.Status.State == summary.StatusConfirmed {
			reasons = append(reasons, summary.ReasonStatusConfirmed)
		} else {
			reasons = append(reasons, summary.ReasonStatusFailed)
		}
	}
	return withEvents(reasons, before.Events, after.Events)
}

// reasonsByType are the reasons that events give; those of other types are late.
var reasonsByType = map[string]summary.Reason{
	call.TypeRecordingSaved:           summary.ReasonRecording,
	call.TypeConferenceRecordingSaved: summary.ReasonRecording,
	call.TypeRecordingTranscription:   summary.ReasonTranscription,
	call.TypeInsights:                 summary.ReasonInsights,
	call.TypeCost:                     summary.ReasonCost,
}

// withEvents adds to reasons those that the events give which only the later timeline has. A
// revision without any other reason was made for a late event.
func withEvents(reasons []summary.Reason, before, after []summary.Event) []summary.Reason {
	known := make(map[[2]string]bool, len(before))
	for _, e := range before {
		known[[2]string{e.Type, e.ID}] = true
	}
	found := make(map[summary.Reason]bool)
	for _, e := range after {
		switch {
		case known[[2]string{e.Type, e.ID}]:
		case e.Backfill:
			found[summary.ReasonBackfill] = true
		default:
			found[cmp.Or(reasonsByType[e.Type], summary.ReasonLateEvent)] = true
		}
	}
	found[summary.ReasonLateEvent] = found[summary.ReasonLateEvent] || len(reasons)+len(found) == 0
	for _, r := range []summary.Reason{
		summary.ReasonBackfill, summary.ReasonRecording, summary.ReasonTranscription, summary.ReasonInsights,
		summary.ReasonCost, summary.ReasonLateEvent,
	} {
		if found[r] {
			reasons = append(reasons, r)
		}
	}
	return reasons
}

// SessionReasons say why a session is revised.
func SessionReasons(before, after *summary.Session) []summary.Reason {
	var reasons []summary.Reason
	revisions := make(map[string]int, len(before.Legs))
	for _, l := range before.Legs {
		revisions[l.CallLegID] = l.Revision
	}
	added, revised := false, false
	for _, l := range after.Legs {
		r, ok := revisions[l.CallLegID]
		// One that was left out of the list is none that joined.
		hidden := !ok && before.LegsOmitted > 0 && after.LegCount <= before.LegCount
		added = added || !ok && !hidden
		revised = revised || ok && r != l.Revision || hidden && l.Revision > 1
	}
	if added {
		reasons = append(reasons, summary.ReasonLegAdded)
	}
	if revised {
		reasons = append(reasons, summary.ReasonLegRevised)
	}
	return withEvents(reasons, before.Events, after.Events)
}
