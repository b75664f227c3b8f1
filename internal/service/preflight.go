package service

import (
	"context"
	"fmt"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
)

// checkWithin bounds a look at something far away; several are done in turn.
const checkWithin = 6 * time.Second

// Verdict is how one look ended.
type Verdict string

const (
	// VerdictOK says that it works.
	VerdictOK Verdict = "ok"
	// VerdictWarning says that it works, but not as well as it could.
	VerdictWarning Verdict = "warning"
	// VerdictFault says that the service would not start, or would lose or misjudge calls.
	VerdictFault Verdict = "fault"
)

// Finding is one line of the report.
type Finding struct {
	// Name says what was looked at: one of a fixed set of words.
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Detail is what was found, without secrets.
	Detail string `json:"detail"`
	// Do is what to do about it. Empty when it is ok.
	Do string `json:"do,omitempty"`
}

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, Verdict: VerdictOK, Detail: fmt.Sprintf(format, args...)}
}

func (f Finding) but(v Verdict, do string) Finding {
	f.Verdict, f.Do = v, do
	return f
}

func fault(name string, err error, do string) Finding {
	return Finding{Name: name, Verdict: VerdictFault, Detail: err.Error(), Do: do}
}

// Preflight looks at everything that serve depends on with the settings of serve, and changes nothing. It
// returns the findings in the order in which serve meets their subjects.
func Preflight(ctx context.Context, set *Settings) []Finding {
	found := []Finding{checkSettings(set)}
	layout, err := natsd.NewLayout(set.SubjectPrefix)
	if err != nil {
		found = append(found, fault("subject prefix", err, "Choose another --subject-prefix."))
	}
	found = append(found, checkTelnyx(ctx, set)...)
	found = append(found, checkListeners(ctx, set)...)
	if set.NATSURL == "" {
		found = append(found, checkEmbedded(ctx, set, layout)...)
	} else {
		found = append(found, checkNATS(ctx, set, set.URLs(), layout)...)
	}
	return found
}

func checkSettings(set *Settings) Finding {
	const name = "settings"
	if err := set.check(); err != nil {
		return fault(name, err, "Change the flag, or its variable.")
	}
	return ok(name, "they go together")
}
