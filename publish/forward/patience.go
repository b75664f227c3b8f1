package forward

import (
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// reports are the event types that only report: nobody answers the call by them, so that late is better than
// never. Events of every other type, unknown ones too, are such that the application commands on.
var reports = map[string]bool{
	call.TypeHangup:                   true,
	call.TypeCost:                     true,
	call.TypeRecordingSaved:           true,
	call.TypeRecordingError:           true,
	call.TypeRecordingTranscription:   true,
	call.TypeTranscription:            true,
	call.TypeInsights:                 true,
	call.TypeConferenceEnded:          true,
	call.TypeConferenceRecordingSaved: true,
}

// Reports reports whether events of a type only report, and may arrive late. The application commands on all
// others, unknown types included: they are of no use once their leg is over.
func Reports(eventType string) bool { return reports[eventType] }

// Times of the attempts.
const (
	// firstPause doubles to lastPause between the attempts at an event that commands: the far end of the
	// call waits, and hangs up after some 10 to 30 s.
	firstPause, lastPause = 250 * time.Millisecond, 2 * time.Second
	// signatureOld is when Telnyx's SDKs are about to refuse a signature (300 s).
	signatureOld = 240 * time.Second
)

// defaultPauses are the growing pauses between the attempts at an event that only reports.
func defaultPauses() []time.Duration {
	return []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}
}
