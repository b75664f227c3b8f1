package telnyx

// vocabulary are the words that nearly every call's events repeat. Legs keep the one text here instead of a copy
// each; a word that is missing costs some 16 bytes, and nothing else depends on this list.
var vocabulary = func() map[string]string {
	words := make(map[string]string)
	for _, word := range []string{
		"incoming", "outgoing", "parked", "bridging", "pstn", "sip", "PCMU", "PCMA", "opus", "G722", "G729",
		"caller", "callee", "unknown", "unspecified", "200", "404", "486", "487", "503", "603",
		"normal_clearing", "originator_cancel", "call_rejected", "user_busy", "not_found", "no_answer", "timeout", "time_limit",
		"completed", "failed", "cancelled", "cancelled_amd", "call_hangup", "file_not_found", "valid", "invalid",
		"bridged", "bridging-in-process", "hangup", "leave", "success", "error",
		"human", "machine", "not_sure", "human_residence", "human_business", "silence", "fax_detected",
		"ended", "beep_detected", "no_beep_detected", "prompt_ended", "screening",
		"sip-trunking", "call-control", "USD", "single", "dual", "mp3", "wav",
		"inbound", "outbound", "assistant", "user",
	} {
		words[word] = word
	}
	return words
}()
