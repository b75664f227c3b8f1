package compose_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

var update = flag.Bool("update", false, "write the table of outcomes into docs/messages.md")

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		answered            bool
		cause, source, code string
		want                summary.Outcome
	}{
		"answered, whatever the cause":           {true, "user_busy", "callee", "486", summary.OutcomeAnswered},
		"busy":                                   {false, "user_busy", "callee", "", summary.OutcomeBusy},
		"rejected":                               {false, "call_rejected", "callee", "603", summary.OutcomeRejected},
		"canceled":                               {false, "originator_cancel", "callee", "487", summary.OutcomeCanceled},
		"ringing timeout":                        {false, "timeout", "callee", "unspecified", summary.OutcomeNoAnswer},
		"no answer":                              {false, "no_answer", "callee", "", summary.OutcomeNoAnswer},
		"no user response":                       {false, "no_user_response", "callee", "", summary.OutcomeNoAnswer},
		"not found":                              {false, "not_found", "callee", "404", summary.OutcomeFailed},
		"unallocated":                            {false, "unallocated_number", "callee", "", summary.OutcomeFailed},
		"invalid number":                         {false, "invalid_number_format", "callee", "", summary.OutcomeFailed},
		"destination out of order":               {false, "destination_out_of_order", "callee", "", summary.OutcomeFailed},
		"network out of order":                   {false, "network_out_of_order", "callee", "", summary.OutcomeFailed},
		"timer":                                  {false, "recovery_on_timer_expire", "callee", "", summary.OutcomeFailed},
		"temporary failure":                      {false, "normal_temporary_failure", "callee", "", summary.OutcomeFailed},
		"time limit of a talk":                   {false, "time_limit", "callee", "", summary.OutcomeAnswered},
		"causes in capitals":                     {false, "USER_BUSY", "callee", "", summary.OutcomeBusy},
		"the cause goes before the code":         {false, "user_busy", "callee", "603", summary.OutcomeBusy},
		"200":                                    {false, "normal_clearing", "callee", "200", summary.OutcomeAnswered},
		"486":                                    {false, "normal_clearing", "callee", "486", summary.OutcomeBusy},
		"600":                                    {false, "normal_clearing", "callee", "600", summary.OutcomeBusy},
		"403":                                    {false, "unspecified", "callee", "403", summary.OutcomeRejected},
		"603":                                    {false, "unspecified", "callee", "603", summary.OutcomeRejected},
		"607":                                    {false, "unspecified", "callee", "607", summary.OutcomeRejected},
		"608":                                    {false, "unspecified", "callee", "608", summary.OutcomeRejected},
		"487":                                    {false, "", "callee", "487", summary.OutcomeCanceled},
		"408":                                    {false, "", "callee", "408", summary.OutcomeNoAnswer},
		"480":                                    {false, "", "callee", "480", summary.OutcomeNoAnswer},
		"another 4xx":                            {false, "", "callee", "404", summary.OutcomeFailed},
		"another 5xx":                            {false, "normal_clearing", "callee", "503", summary.OutcomeFailed},
		"another 6xx":                            {false, "a word of tomorrow", "callee", "604", summary.OutcomeFailed},
		"3xx says nothing":                       {false, "", "callee", "302", summary.OutcomeUnknown},
		"busy, said of the calling side":         {false, "user_busy", "caller", "486", summary.OutcomeCanceled},
		"rejected, said of the calling side":     {false, "call_rejected", "caller", "603", summary.OutcomeCanceled},
		"a busy code of the calling side":        {false, "normal_clearing", "caller", "486", summary.OutcomeCanceled},
		"a refusal code of the calling side":     {false, "", "caller", "21", summary.OutcomeCanceled},
		"busy, of an unknown side":               {false, "user_busy", "unknown", "", summary.OutcomeBusy},
		"a timeout of the calling side":          {false, "timeout", "caller", "", summary.OutcomeNoAnswer},
		"answered, then busy from the caller":    {true, "user_busy", "caller", "486", summary.OutcomeAnswered},
		"Q.850 16, normal clearing":              {false, "normal_clearing", "caller", "16", summary.OutcomeAnswered},
		"Q.850 17, user busy":                    {false, "unspecified", "callee", "17", summary.OutcomeBusy},
		"Q.850 19, no answer":                    {false, "", "callee", "19", summary.OutcomeNoAnswer},
		"Q.850 21, call rejected":                {false, "", "callee", "21", summary.OutcomeRejected},
		"Q.850 34, no circuit":                   {false, "", "callee", "34", summary.OutcomeFailed},
		"Q.850 31 says nothing":                  {false, "normal_clearing", "callee", "31", summary.OutcomeUnknown},
		"unspecified says nothing":               {false, "unspecified", "callee", "unspecified", summary.OutcomeUnknown},
		"four digits say nothing":                {false, "", "callee", "4040", summary.OutcomeUnknown},
		"nothing seen is unknown, not no answer": {false, "", "callee", "", summary.OutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compose.Outcome(c.answered, c.cause, c.source, c.code); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The page prints the table that decides.
func TestTheTableOfOutcomesIsPrinted(t *testing.T) {
	var want strings.Builder
	want.WriteString("\n| `hangup_cause` | `hangup_source` | `sip_hangup_cause` | outcome |\n|---|---|---|---|\n")
	list := func(words []string) string {
		if len(words) == 0 {
			return "any"
		}
		return "`" + strings.Join(words, "`, `") + "`"
	}
	for _, r := range compose.OutcomeRules() {
		source := "any"
		if r.Source != "" {
			source = "`" + r.Source + "`"
		}
		fmt.Fprintf(&want, "| %s | %s | %s | `%s` |\n", list(r.Causes), source, list(r.Codes), r.Outcome)
	}
	page := filepath.Join("..", "..", "docs", "messages.md")
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "<!-- outcomes, written by go test ./enrich/compose -update -->\n", "\n<!-- end of outcomes -->"
	before, rest, found := strings.Cut(string(data), from)
	got, after, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatal("docs/messages.md has no place for the table of outcomes")
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+from+want.String()+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	check(t, "docs/messages.md (-update writes it)", got, want.String())
}

func TestAnsweredBy(t *testing.T) {
	for result, want := range map[string]summary.AnsweredBy{
		"": "", "human": summary.AnsweredByHuman, "human_residence": summary.AnsweredByHuman, "human_business": summary.AnsweredByHuman,
		"machine": summary.AnsweredByMachine, "fax_detected": summary.AnsweredByFax, "silence": summary.AnsweredBySilence,
		"not_sure": summary.AnsweredByUnknown, "a word of tomorrow": summary.AnsweredByUnknown,
	} {
		if got := compose.AnsweredBy(result); got != want {
			t.Errorf("%q: got %q, want %q", result, got, want)
		}
	}
}

func TestParty(t *testing.T) {
	for _, c := range []struct {
		direction, source string
		want              summary.Party
	}{
		{"incoming", "caller", summary.PartyRemote},
		{"incoming", "callee", summary.PartyLocal},
		{"outgoing", "caller", summary.PartyLocal},
		{"outgoing", "callee", summary.PartyRemote},
		{"incoming", "unknown", summary.PartyUnknown},
		{"outgoing", "system", summary.PartyUnknown},
		{"outgoing", "", summary.PartyUnknown},
		{"", "caller", summary.PartyUnknown},
	} {
		if got := compose.PartyOf(c.direction, c.source); got != c.want {
			t.Errorf("%s, %s: got %s, want %s", c.direction, c.source, got, c.want)
		}
	}
}
