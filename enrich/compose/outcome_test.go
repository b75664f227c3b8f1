package compose_test

import (
	"testing"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		answered   bool
		cause, sip string
		want       summary.Outcome
	}{
		"answered, whatever the cause":           {true, "user_busy", "486", summary.OutcomeAnswered},
		"busy":                                   {false, "user_busy", "", summary.OutcomeBusy},
		"rejected":                               {false, "call_rejected", "603", summary.OutcomeRejected},
		"canceled":                               {false, "originator_cancel", "487", summary.OutcomeCanceled},
		"ringing timeout":                        {false, "timeout", "unspecified", summary.OutcomeNoAnswer},
		"no answer":                              {false, "no_answer", "", summary.OutcomeNoAnswer},
		"no user response":                       {false, "no_user_response", "", summary.OutcomeNoAnswer},
		"not found":                              {false, "not_found", "404", summary.OutcomeFailed},
		"unallocated":                            {false, "unallocated_number", "", summary.OutcomeFailed},
		"invalid number":                         {false, "invalid_number_format", "", summary.OutcomeFailed},
		"destination out of order":               {false, "destination_out_of_order", "", summary.OutcomeFailed},
		"network out of order":                   {false, "network_out_of_order", "", summary.OutcomeFailed},
		"timer":                                  {false, "recovery_on_timer_expire", "", summary.OutcomeFailed},
		"temporary failure":                      {false, "normal_temporary_failure", "", summary.OutcomeFailed},
		"time limit of a talk":                   {false, "time_limit", "", summary.OutcomeAnswered},
		"causes in capitals":                     {false, "USER_BUSY", "", summary.OutcomeBusy},
		"the cause goes before the code":         {false, "user_busy", "603", summary.OutcomeBusy},
		"200":                                    {false, "normal_clearing", "200", summary.OutcomeAnswered},
		"486":                                    {false, "normal_clearing", "486", summary.OutcomeBusy},
		"600":                                    {false, "normal_clearing", "600", summary.OutcomeBusy},
		"403":                                    {false, "unspecified", "403", summary.OutcomeRejected},
		"603":                                    {false, "unspecified", "603", summary.OutcomeRejected},
		"607":                                    {false, "unspecified", "607", summary.OutcomeRejected},
		"608":                                    {false, "unspecified", "608", summary.OutcomeRejected},
		"487":                                    {false, "", "487", summary.OutcomeCanceled},
		"408":                                    {false, "", "408", summary.OutcomeNoAnswer},
		"480":                                    {false, "", "480", summary.OutcomeNoAnswer},
		"another 4xx":                            {false, "", "404", summary.OutcomeFailed},
		"another 5xx":                            {false, "normal_clearing", "503", summary.OutcomeFailed},
		"another 6xx":                            {false, "a word of tomorrow", "604", summary.OutcomeFailed},
		"3xx says nothing":                       {false, "", "302", summary.OutcomeUnknown},
		"a Q.850 code says nothing":              {false, "normal_clearing", "16", summary.OutcomeUnknown},
		"unspecified says nothing":               {false, "unspecified", "unspecified", summary.OutcomeUnknown},
		"four digits say nothing":                {false, "", "4040", summary.OutcomeUnknown},
		"nothing seen is unknown, not no answer": {false, "", "", summary.OutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compose.Outcome(c.answered, c.cause, c.sip); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// Each row of both tables stands in the list above.
	if len(compose.OutcomesByCause) != 14 || len(compose.OutcomesBySIP) != 10 {
		t.Errorf("the tables have %d and %d rows", len(compose.OutcomesByCause), len(compose.OutcomesBySIP))
	}
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
