package compose

import (
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
	reasons = append(reasons, eventReasons(before.Events, after.Events)...)
	if len(reasons) == 0 {
		return []summary.Reason{summary.ReasonLateEvent}
	}
	return reasons
}

// eventReasons are the reasons that the events give that only the later timeline has.
func eventReasons(before, after []summary.Event) (reasons []summary.Reason) {
	known := make(map[[2]string]bool, len(before))
	for _, e := range before {
		known[[2]string{e.Type, e.ID}] = true
	}
	found := make(map[summary.Reason]bool)
	for _, e := range after {
		if known[[2]string{e.Type, e.ID}] {
			continue
		}
		if e.Backfill {
			found[summary.ReasonBackfill] = true
		} else {
			found[reasonOf(e.Type)] = true
		}
	}
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

// reasonOf is the reason that an event of a type gives.
func reasonOf(eventType string) summary.Reason {
	switch eventType {
	case call.TypeRecordingSaved, call.TypeConferenceRecordingSaved:
		return summary.ReasonRecording
	case call.TypeRecordingTranscription:
		return summary.ReasonTranscription
	case call.TypeInsights:
		return summary.ReasonInsights
	case call.TypeCost:
		return summary.ReasonCost
	}
	return summary.ReasonLateEvent
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
	reasons = append(reasons, eventReasons(before.Events, after.Events)...)
	if len(reasons) == 0 {
		return []summary.Reason{summary.ReasonLateEvent}
	}
	return reasons
}
