package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/legato-calls/legato/internal/service"
)

// checkCmd looks at everything that serve depends on, and changes nothing. It
// takes serve's flags and environment, so that it sees what serve would see.
type checkCmd struct {
	service.Settings
	JSON bool `help:"One JSON document instead of lines."`
}

// Run looks at one thing after the other and prints what it found.
func (cmd *checkCmd) Run(ctx context.Context, c *console) error {
	found := service.Preflight(ctx, &cmd.Settings)
	faults := 0
	for _, f := range found {
		if f.Verdict == service.VerdictFault {
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

// printFindings prints a line for each finding, and below it what to do.
func printFindings(w io.Writer, found []service.Finding) error {
	width := 0
	for _, f := range found {
		width = max(width, len(f.Name))
	}
	indent := strings.Repeat(" ", len(service.VerdictWarning)+width+4)
	for _, f := range found {
		verdict := paint(w, colorOf(string(f.Verdict)), string(f.Verdict)) + strings.Repeat(" ", len(service.VerdictWarning)-len(f.Verdict))
		text := fmt.Sprintf("%s  %-*s  %s\n", verdict, width, f.Name, strings.ReplaceAll(f.Detail, "\n", "\n"+indent))
		if f.Do != "" {
			text += indent + "→ " + strings.ReplaceAll(f.Do, "\n", "\n"+indent+"  ") + "\n"
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

func printFindingsJSON(w io.Writer, found []service.Finding) error {
	worst := service.VerdictOK
	for _, f := range found {
		if f.Verdict == service.VerdictFault || worst == service.VerdictOK {
			worst = f.Verdict
		}
	}
	return printIndented(w, struct {
		Verdict service.Verdict   `json:"verdict"`
		Checks  []service.Finding `json:"checks"`
	}{worst, found})
}
