package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
)

// checkCmd looks at everything that serve depends on, and changes nothing. It
// takes serve's flags and environment, so that it sees what serve would see.
type checkCmd struct {
	settings
	JSON bool `help:"One JSON document instead of lines."`
}

// checkWithin bounds a look at something far away; several are done in turn.
const checkWithin = 6 * time.Second

// verdict is how one look ended.
type verdict string

const (
	verdictOK      verdict = "ok"
	verdictWarning verdict = "warning" // it works, but not as well as it could
	verdictFault   verdict = "fault"   // the service would not start, or lose or misjudge calls
)

// finding is one line of the report.
type finding struct {
	// Name says what was looked at: one of a fixed set of words.
	Name    string  `json:"name"`
	Verdict verdict `json:"verdict"`
	// Detail is what was found, without secrets.
	Detail string `json:"detail"`
	// Do is what to do about it. Empty when it is ok.
	Do string `json:"do,omitempty"`
}

func ok(name, format string, args ...any) finding {
	return finding{Name: name, Verdict: verdictOK, Detail: fmt.Sprintf(format, args...)}
}

func (f finding) but(v verdict, do string) finding {
	f.Verdict, f.Do = v, do
	return f
}

func fault(name string, err error, do string) finding {
	return finding{Name: name, Verdict: verdictFault, Detail: err.Error(), Do: do}
}

// Run looks at one thing after the other and prints what it found.
func (cmd *checkCmd) Run(ctx context.Context, c *console) error {
	found := cmd.look(ctx)
	faults := 0
	for _, f := range found {
		if f.Verdict == verdictFault {
			faults++
		}
	}
	show := printFindings
	if cmd.JSON {
		show = printFindingsJSON
	}
	if err := show(c.stdout, found); err != nil {
		return err
	}
	switch faults {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 fault")
	default:
		return fmt.Errorf("%d faults", faults)
	}
}

// look returns the findings in the order in which serve meets their subjects.
func (cmd *checkCmd) look(ctx context.Context) []finding {
	set := &cmd.settings
	found := []finding{checkSettings(set)}
	layout, err := natsd.NewLayout(set.SubjectPrefix)
	if err != nil {
		found = append(found, fault("subject prefix", err, "Choose another --subject-prefix."))
	}
	found = append(found, checkTelnyx(ctx, set)...)
	found = append(found, checkListeners(ctx, set)...)
	if set.NATSURL == "" {
		found = append(found, checkEmbedded(ctx, set, layout)...)
	} else {
		found = append(found, checkNATS(ctx, set, set.urls(), layout)...)
	}
	return found
}

func checkSettings(set *settings) finding {
	const name = "settings"
	if err := set.check(); err != nil {
		return fault(name, err, "Change the flag, or its variable.")
	}
	return ok(name, "they go together")
}

// printFindings prints a line for each finding, and below it what to do.
func printFindings(w io.Writer, found []finding) error {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Name))
	}
	indent := strings.Repeat(" ", len(verdictWarning)+width+4)
	for _, f := range found {
		text := fmt.Sprintf("%-*s  %-*s  %s\n", len(verdictWarning), f.Verdict, width, f.Name,
			strings.ReplaceAll(f.Detail, "\n", "\n"+indent))
		if f.Do != "" {
			text += indent + "→ " + strings.ReplaceAll(f.Do, "\n", "\n"+indent+"  ") + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

func printFindingsJSON(w io.Writer, found []finding) error {
	worst := verdictOK
	for _, f := range found {
		if f.Verdict == verdictFault || worst == verdictOK {
			worst = f.Verdict
		}
		if worst == verdictFault {
			break
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Verdict verdict   `json:"verdict"`
		Checks  []finding `json:"checks"`
	}{worst, found})
}
