package compose

import (
	"cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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
