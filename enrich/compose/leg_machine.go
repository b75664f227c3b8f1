package compose

import (
	"cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func (c *legComposer) machine() *summary.MachineDetection {
	if c.leg.MachineDetection == nil {
		c.leg.MachineDetection = &summary.MachineDetection{}
	}
	return c.leg.MachineDetection
}

// detection takes the last word of the detection, of the greeting and of a call screening.
func (c *legComposer) detection(e *session.Event, d *call.Machine) {
	m, at := c.machine(), summary.At(e.OccurredAt)
	switch e.Type {
	case call.TypeMachineDetection, call.TypeMachinePremium:
		m.Result, m.DetectedAt = d.Result, at
	case call.TypeMachineGreeting, call.TypeMachinePremiumGreet:
		m.Greeting, m.GreetingAt = d.Result, at
	case call.TypeMachineScreening:
		m.ScreenedAt = at
	}
}

// settled returns the detection without a result that a later call screening made void: the phone had answered
// itself, and the detection began again. A later result stands.
func settled(m *summary.MachineDetection) *summary.MachineDetection {
	if m == nil || m.ScreenedAt == nil || !m.DetectedAt.Known().Before(m.ScreenedAt.Time) {
		return m
	}
	s := *m
	s.Result, s.DetectedAt = "", nil
	return &s
}

// verdict is who answered, by a settled detection; empty when nothing was detected. A beep, which with premium
// detection can take the place of a result, makes a machine of a result that is none.
func verdict(m *summary.MachineDetection) summary.AnsweredBy {
	if m == nil {
		return ""
	}
	beep := m.Greeting == "beep_detected" && (m.ScreenedAt == nil || !m.GreetingAt.Known().Before(m.ScreenedAt.Time))
	switch m.Result {
	case "", "not_sure", "silence":
		if beep {
			return summary.AnsweredByMachine
		}
		if m.Result == "" && m.ScreenedAt != nil {
			return summary.AnsweredByUnknown
		}
	}
	return answeredBy(m.Result)
}

// mergeDetection merges two statements of one leg's detection: of each part the later stands.
func mergeDetection(before, after *summary.MachineDetection) *summary.MachineDetection {
	if before == nil || after == nil {
		return cmp.Or(before, after)
	}
	m := *before
	if after.Result != "" && !after.DetectedAt.Known().Before(m.DetectedAt.Known()) {
		m.Result, m.DetectedAt = after.Result, after.DetectedAt
	}
	if after.Greeting != "" && !after.GreetingAt.Known().Before(m.GreetingAt.Known()) {
		m.Greeting, m.GreetingAt = after.Greeting, after.GreetingAt
	}
	latest(&m.ScreenedAt, after.ScreenedAt)
	m.Premium = before.Premium || after.Premium
	return settled(&m)
}
