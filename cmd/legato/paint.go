package main

import (
	"io"
	"regexp"
	"strings"

	"github.com/fatih/color"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/service"
)

var (
	good = color.New(color.FgGreen)
	odd  = color.New(color.FgYellow)
	bad  = color.New(color.FgRed)
	dim  = color.New(color.Faint)
)

// paint colours a text for a terminal; it leaves it alone anywhere else, and where NO_COLOR is set.
func paint(w io.Writer, c *color.Color, text string) string {
	if c == nil || text == "" || color.NoColor || !service.IsTerminal(w) {
		return text
	}
	return c.Sprint(text)
}

// colorOf is the colour of a word of a summary or of a report; nil: none.
func colorOf(word string) *color.Color {
	switch word {
	case string(summary.OutcomeAnswered), string(summary.StatusConfirmed), string(service.VerdictOK):
		return good
	case string(summary.OutcomeFailed), string(summary.StatusDenied), string(service.VerdictFault):
		return bad
	case string(summary.OutcomeUnknown), "":
		return dim
	}
	return odd
}

// marks of a ladder that stand out: what is missing, what came late or more than once, and what was published.
var marks = []struct {
	pattern *regexp.Regexp
	color   *color.Color
}{
	{regexp.MustCompile(`✗ [a-z._]+ is missing|lacks [a-z, ]+`), bad},
	{regexp.MustCompile(`late [0-9.hms]+|backfilled|(?m)○ [^│\n]*`), odd},
	{regexp.MustCompile(`▶ [^│\n]*`), good},
	{regexp.MustCompile(`[?…] [^│\n]*`), dim},
	{regexp.MustCompile(`[│─┬]+`), dim},
}

// paintLadder colours what stands out in a ladder.
func paintLadder(w io.Writer, ladder string) string {
	if paint(w, dim, "x") == "x" {
		return ladder
	}
	for _, m := range marks {
		ladder = m.pattern.ReplaceAllStringFunc(ladder, func(text string) string {
			trimmed := strings.TrimRight(text, " ")
			return paint(w, m.color, trimmed) + text[len(trimmed):]
		})
	}
	return ladder
}
