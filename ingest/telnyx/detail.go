package telnyx

import (
	"reflect"

	"github.com/legato-calls/legato/internal/call"
)

// ownDetail is how the detail of a type of event is read.
type ownDetail struct {
	// read returns the detail, and whether fields that were read for it alone state something that could not be read.
	read func(p *payload, body []byte) (detail call.Detail, unread bool)
	// fields is the struct that it is read into. Nil: such events have none.
	fields reflect.Type
}

// details reads what only events of a type state. Of the types that are not here that is nothing.
var details = map[string]ownDetail{
	call.TypeInitiated:                  common((*payload).initiated),
	call.TypeAnswered:                   common((*payload).answered),
	call.TypeEnqueued:                   common((*payload).enqueued),
	call.TypeDequeued:                   common((*payload).dequeued),
	call.TypeHangup:                     common((*payload).hangup),
	call.TypeCost:                       common((*payload).cost),
	call.TypeReferStarted:               rare((*refer).noun),
	call.TypeReferCompleted:             rare((*refer).noun),
	call.TypeReferFailed:                rare((*refer).noun),
	call.TypeMachineDetection:           common((*payload).machine),
	call.TypeMachineGreeting:            common((*payload).machine),
	call.TypeMachinePremium:             common((*payload).machine),
	call.TypeMachinePremiumGreet:        common((*payload).machine),
	call.TypeMachineScreening:           common((*payload).machine),
	call.TypeDeepfakeResult:             rare((*deepfake).noun),
	call.TypeDeepfakeError:              rare((*deepfake).noun),
	call.TypeSpeakEnded:                 common((*payload).speech),
	call.TypePlaybackStarted:            common((*payload).playback),
	call.TypePlaybackEnded:              common((*payload).playback),
	call.TypeDTMF:                       common((*payload).dtmf),
	call.TypeGatherEnded:                common((*payload).gather),
	call.TypePaymentProgress:            rare((*payment).progress),
	call.TypePaymentDone:                rare((*payment).completed),
	call.TypeTranscription:              common((*payload).utterance),
	call.TypeDialogflow:                 rare((*dialogflow).noun),
	call.TypeAIGatherEnded:              rare((*aiGather).ended),
	call.TypeAIGatherHistory:            rare((*aiGather).updated),
	call.TypeAIGatherPartial:            rare((*aiGather).updated),
	call.TypeConversationNew:            rare((*conversation).noun),
	call.TypeConversationEnded:          rare((*conversation).noun),
	call.TypeConversationFailed:         rare((*conversation).noun),
	call.TypeInsights:                   rare((*insights).noun),
	call.TypeRecordingSaved:             common((*payload).recording),
	call.TypeRecordingError:             common((*payload).recordingError),
	call.TypeRecordingTranscription:     rare((*transcription).noun),
	call.TypeForkStarted:                rare((*streaming).fork),
	call.TypeForkStopped:                rare((*streaming).fork),
	call.TypeStreamingStarted:           rare((*streaming).noun),
	call.TypeStreamingStopped:           rare((*streaming).noun),
	call.TypeStreamingFailed:            rare((*streaming).noun),
	call.TypeSIPRECStarted:              rare((*siprec).noun),
	call.TypeSIPRECStopped:              rare((*siprec).stopped),
	call.TypeSIPRECFailed:               rare((*siprec).noun),
	call.TypeConferenceCreated:          common((*payload).conference),
	call.TypeConferenceEnded:            common((*payload).conference),
	call.TypeConferenceFloor:            common((*payload).conference),
	call.TypeConferenceJoined:           common((*payload).conference),
	call.TypeConferenceLeft:             common((*payload).conference),
	call.TypeConferenceSpeakStarted:     common((*payload).speech),
	call.TypeConferenceSpeakEnded:       common((*payload).speech),
	call.TypeConferencePlaybackStarted:  common((*payload).playback),
	call.TypeConferencePlaybackEnded:    common((*payload).playback),
	call.TypeConferenceRecordingSaved:   common((*payload).recording),
	call.TypeParticipantSpeakStarted:    common((*payload).speech),
	call.TypeParticipantSpeakEnded:      common((*payload).speech),
	call.TypeParticipantPlaybackStarted: common((*payload).playback),
	call.TypeParticipantPlaybackEnded:   common((*payload).playback),
}

// hollow is what can hold an object of which nothing was read. Whether it states something all the same tells
// unreadFields.
type hollow interface{ isHollow() bool }

// common reads a detail of what was read in the first pass, because nearly every call has such events or
// because their fields are nothing special.
func common(noun func(*payload, *trimmer) call.Detail) ownDetail {
	return ownDetail{
		read:   func(p *payload, _ []byte) (call.Detail, bool) { return noun(p, &p.trimmer), p.isHollow() },
		fields: reflect.TypeFor[payload](),
	}
}

// rare reads the body a second time, for the fields P that no other event has.
func rare[P any](noun func(*P, *trimmer) call.Detail) ownDetail {
	return ownDetail{
		read: func(common *payload, body []byte) (call.Detail, bool) {
			f, err := parse[P](body)
			if err != nil {
				return nil, false // cannot be: the body was read before
			}
			p := f.payload()
			may, _ := any(p).(hollow)
			return noun(p, &common.trimmer), f.unread || may != nil && may.isHollow()
		},
		fields: reflect.TypeFor[P](),
	}
}
