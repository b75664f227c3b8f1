package compose

import (
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
)

// outcomesByCause is the first half of the table by which a leg that nobody was
// seen to answer gets its outcome: by hangup_cause. The causes are those of the specification and
// the names of the switch beneath it that applications report.
var outcomesByCause = map[string]summary.Outcome{
	"user_busy": summary.OutcomeBusy,

	"call_rejected": summary.OutcomeRejected,

	"originator_cancel": summary.OutcomeCanceled,

	"timeout":          summary.OutcomeNoAnswer,
	"no_answer":        summary.OutcomeNoAnswer,
	"no_user_response": summary.OutcomeNoAnswer,

	"not_found":                summary.OutcomeFailed,
	"unallocated_number":       summary.OutcomeFailed,
	"invalid_number_format":    summary.OutcomeFailed,
	"destination_out_of_order": summary.OutcomeFailed,
	"network_out_of_order":     summary.OutcomeFailed,
	"recovery_on_timer_expire": summary.OutcomeFailed,
	"normal_temporary_failure": summary.OutcomeFailed,

	// Only a leg that was talking for hours runs into its time limit.
	"time_limit": summary.OutcomeAnswered,
}

// outcomesBySIP is the second half, for causes that do not decide it (normal_clearing,
// unspecified, none, unknown words): by sip_hangup_cause. A code that is not
// here fails when it is 4xx, 5xx or 6xx.
var outcomesBySIP = map[string]summary.Outcome{
	// A 200 to the INVITE, or to the BYE that followed it: it had been answered.
	"200": summary.OutcomeAnswered,

	"486": summary.OutcomeBusy,
	"600": summary.OutcomeBusy,

	"403": summary.OutcomeRejected,
	"603": summary.OutcomeRejected,
	"607": summary.OutcomeRejected,
	"608": summary.OutcomeRejected,

	"487": summary.OutcomeCanceled,

	"408": summary.OutcomeNoAnswer,
	"480": summary.OutcomeNoAnswer,
}

// outcome decides what became of a leg. answered: it was seen to be
// answered or bridged; cause and sip are those of its hangup, empty when none was seen.
// What was not seen is unknown, never no_answer.
func outcome(answered bool, cause, sip string) summary.Outcome {
	if answered {
		return summary.OutcomeAnswered
	}
	if o, ok := outcomesByCause[strings.ToLower(cause)]; ok {
		return o
	}
	if o, ok := outcomesBySIP[sip]; ok {
		return o
	}
	if len(sip) == 3 && sip[0] >= '4' && sip[0] <= '6' {
		return summary.OutcomeFailed
	}
	return summary.OutcomeUnknown
}

// answeredBy translates the result of a machine detection; empty when there was none.
func answeredBy(result string) summary.AnsweredBy {
	switch result {
	case "":
		return ""
	case "human", "human_residence", "human_business":
		return summary.AnsweredByHuman
	case "machine":
		return summary.AnsweredByMachine
	case "fax_detected":
		return summary.AnsweredByFax
	case "silence":
		return summary.AnsweredBySilence
	}
	return summary.AnsweredByUnknown
}

// party is who hung up, as seen from Telnyx's customer. hangup_source names
// the caller or the callee of the leg: on an incoming leg the caller is the other side, on
// an outgoing one it is ours.
func party(direction, source string) summary.Party {
	switch {
	case direction == "incoming" && source == "caller", direction == "outgoing" && source == "callee":
		return summary.PartyRemote
	case direction == "incoming" && source == "callee", direction == "outgoing" && source == "caller":
		return summary.PartyLocal
	}
	return summary.PartyUnknown
}
