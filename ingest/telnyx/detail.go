package telnyx

import "github.com/legato-calls/legato/internal/call"

// details says what becomes of the types whose events are read in one pass,
// because nearly every call has them or because their fields are nothing special.
var details = map[string]func(*payload) call.Detail{
	call.TypeInitiated: (*payload).initiated,
	call.TypeAnswered:  (*payload).answered,
	call.TypeHangup:    (*payload).hangup,
	call.TypeEnqueued:  (*payload).enqueued,
	call.TypeDequeued:  (*payload).dequeued,
	call.TypeCost:      (*payload).cost,

	call.TypeMachineDetection:    (*payload).machine,
	call.TypeMachineGreeting:     (*payload).machine,
	call.TypeMachinePremium:      (*payload).machine,
	call.TypeMachinePremiumGreet: (*payload).machine,

	call.TypeSpeakEnded:      (*payload).speech,
	call.TypePlaybackStarted: (*payload).playback,
	call.TypePlaybackEnded:   (*payload).playback,
	call.TypeDTMF:            (*payload).dtmf,
	call.TypeGatherEnded:     (*payload).gather,
	call.TypeTranscription:   (*payload).utterance,

	call.TypeRecordingSaved: (*payload).recording,
	call.TypeRecordingError: (*payload).recordingError,

	call.TypeConferenceCreated: (*payload).conference,
	call.TypeConferenceEnded:   (*payload).conference,
	call.TypeConferenceFloor:   (*payload).conference,
	call.TypeConferenceJoined:  (*payload).conference,
	call.TypeConferenceLeft:    (*payload).conference,

	call.TypeConferenceSpeakStarted:    (*payload).speech,
	call.TypeConferenceSpeakEnded:      (*payload).speech,
	call.TypeConferencePlaybackStarted: (*payload).playback,
	call.TypeConferencePlaybackEnded:   (*payload).playback,
	call.TypeConferenceRecordingSaved:  (*payload).recording,

	call.TypeParticipantSpeakStarted:    (*payload).speech,
	call.TypeParticipantSpeakEnded:      (*payload).speech,
	call.TypeParticipantPlaybackStarted: (*payload).playback,
	call.TypeParticipantPlaybackEnded:   (*payload).playback,
}

// rareDetails says what becomes of the types whose fields no other event has.
// Their bodies are read a second time, for these fields.
var rareDetails = map[string]func(body []byte) call.Detail{
	call.TypeReferStarted:   rare((*refer).noun),
	call.TypeReferCompleted: rare((*refer).noun),
	call.TypeReferFailed:    rare((*refer).noun),
	call.TypeDeepfakeResult: rare((*deepfake).noun),
	call.TypeDeepfakeError:  rare((*deepfake).noun),

	call.TypePaymentProgress: rare((*payment).progress),
	call.TypePaymentDone:     rare((*payment).completed),
	call.TypeDialogflow:      rare((*dialogflow).noun),

	call.TypeAIGatherEnded:      rare((*aiGather).ended),
	call.TypeAIGatherHistory:    rare((*aiGather).updated),
	call.TypeAIGatherPartial:    rare((*aiGather).updated),
	call.TypeConversationNew:    rare((*conversation).noun),
	call.TypeConversationEnded:  rare((*conversation).noun),
	call.TypeConversationFailed: rare((*conversation).noun),
	call.TypeInsights:           rare((*insights).noun),

	call.TypeRecordingTranscription: rare((*transcription).noun),

	call.TypeForkStarted:      rare((*streaming).fork),
	call.TypeForkStopped:      rare((*streaming).fork),
	call.TypeStreamingStarted: rare((*streaming).noun),
	call.TypeStreamingStopped: rare((*streaming).noun),
	call.TypeStreamingFailed:  rare((*streaming).noun),
	call.TypeSIPRECStarted:    rare((*siprec).noun),
	call.TypeSIPRECStopped:    rare((*siprec).stopped),
	call.TypeSIPRECFailed:     rare((*siprec).noun),
}

// rare returns a reader of the payload as P.
func rare[P any](noun func(*P) call.Detail) func(body []byte) call.Detail {
	return func(body []byte) call.Detail {
		f, err := parse[P](body)
		if err != nil {
			return nil // cannot be: the body was read before
		}
		return noun(f.payload())
	}
}
