package call

import "slices"

// Event types of a leg's course. What is known about each of all types stands in its row of eventTypes; an
// event of any other type is kept in the timeline alike.
const (
	TypeInitiated = "call.initiated"
	TypeAnswered  = "call.answered"
	TypeBridged   = "call.bridged"
	TypeHold      = "call.hold"
	TypeUnhold    = "call.unhold"
	TypeEnqueued  = "call.enqueued"
	TypeDequeued  = "call.dequeued"
	TypeHangup    = "call.hangup"
	TypeCost      = "call.cost"

	TypeReferStarted   = "call.refer.started"
	TypeReferCompleted = "call.refer.completed"
	TypeReferFailed    = "call.refer.failed"
)

// Event types of who is on the line.
const (
	TypeMachineDetection    = "call.machine.detection.ended"
	TypeMachineGreeting     = "call.machine.greeting.ended"
	TypeMachinePremium      = "call.machine.premium.detection.ended"
	TypeMachinePremiumGreet = "call.machine.premium.greeting.ended"
	TypeMachinePremiumStart = "call.machine.premium.detection.started"
	TypeMachineScreening    = "call.machine.premium.call_screening.detected"
	TypeDeepfakeResult      = "call.deepfake_detection.result"
	TypeDeepfakeError       = "call.deepfake_detection.error"
)

// Event types of what a leg heard, and of what it entered or said.
const (
	TypeSpeakStarted    = "call.speak.started"
	TypeSpeakEnded      = "call.speak.ended"
	TypePlaybackStarted = "call.playback.started"
	TypePlaybackEnded   = "call.playback.ended"

	TypeDTMF            = "call.dtmf.received"
	TypeGatherEnded     = "call.gather.ended"
	TypePaymentProgress = "call.payment.progress"
	TypePaymentDone     = "call.payment.completed"
	TypeTranscription   = "call.transcription"
	TypeDialogflow      = "dialogflow.detectintent.response"
)

// Event types of AI assistants.
const (
	TypeAIGatherEnded      = "call.ai_gather.ended"
	TypeAIGatherHistory    = "call.ai_gather.message_history_updated"
	TypeAIGatherPartial    = "call.ai_gather.partial_results"
	TypeConversationNew    = "call.conversation.created"
	TypeConversationEnded  = "call.conversation.ended"
	TypeConversationFailed = "call.conversation.start_failed"
	TypeInsights           = "call.conversation_insights.generated"
)

// Event types of recordings and of media that goes elsewhere.
const (
	TypeRecordingSaved         = "call.recording.saved"
	TypeRecordingError         = "call.recording.error"
	TypeRecordingTranscription = "call.recording.transcription.saved"

	TypeForkStarted      = "call.fork.started"
	TypeForkStopped      = "call.fork.stopped"
	TypeStreamingStarted = "streaming.started"
	TypeStreamingStopped = "streaming.stopped"
	TypeStreamingFailed  = "streaming.failed"
	TypeSIPRECStarted    = "siprec.started"
	TypeSIPRECStopped    = "siprec.stopped"
	TypeSIPRECFailed     = "siprec.failed"
)

// Event types of conferences. Conferences also start and end the playing and
// speaking of TypeSpeakStarted and its siblings, to all or to one participant.
const (
	TypeConferenceCreated = "conference.created"
	TypeConferenceEnded   = "conference.ended"
	TypeConferenceFloor   = "conference.floor.changed"
	TypeConferenceJoined  = "conference.participant.joined"
	TypeConferenceLeft    = "conference.participant.left"

	TypeConferenceSpeakStarted    = "conference.speak.started"
	TypeConferenceSpeakEnded      = "conference.speak.ended"
	TypeConferencePlaybackStarted = "conference.playback.started"
	TypeConferencePlaybackEnded   = "conference.playback.ended"
	TypeConferenceRecordingSaved  = "conference.recording.saved"

	TypeParticipantSpeakStarted    = "conference.participant.speak.started"
	TypeParticipantSpeakEnded      = "conference.participant.speak.ended"
	TypeParticipantPlaybackStarted = "conference.participant.playback.started"
	TypeParticipantPlaybackEnded   = "conference.participant.playback.ended"
)

// EventType is what is known about a type of event, by itself and wherever it comes from. The zero value of
// a field is what holds of a type that is not known.
type EventType struct {
	// Name is Telnyx's event type.
	Name string
	// Detail is a nil pointer of the type of detail that such events have. Nil: they have none.
	Detail Detail
	// Once: a leg has at most one such event.
	Once bool
	// Starts: start_time in it is the leg's.
	Starts bool
	// Answered: hardly any leg that was not answered has such events.
	Answered bool
	// After: it comes when the call may be over, and is no sign that it lives.
	After bool
	// Reports: an application notes it, and commands nothing on it.
	Reports bool
	// Closes: something within the call has ended, often by the end of the call, behind which it may come: an application
	// may command on it, and has to hear of it in any case.
	Closes bool
}

// eventTypes are all types that summaries can show. Telnyx has others, and will have more.
var eventTypes = []EventType{
	{Name: TypeInitiated, Detail: (*Initiated)(nil), Once: true, Starts: true},
	{Name: TypeAnswered, Detail: (*Answered)(nil), Once: true, Starts: true},
	{Name: TypeBridged, Starts: true},
	{Name: TypeHold},
	{Name: TypeUnhold},
	{Name: TypeEnqueued, Detail: (*Queue)(nil), Answered: true},
	{Name: TypeDequeued, Detail: (*Queue)(nil), Closes: true},
	{Name: TypeHangup, Detail: (*Hangup)(nil), Once: true, Starts: true, Reports: true},
	{Name: TypeCost, Detail: (*Cost)(nil), After: true, Reports: true},
	{Name: TypeReferStarted, Detail: (*Refer)(nil)},
	{Name: TypeReferCompleted, Detail: (*Refer)(nil)},
	{Name: TypeReferFailed, Detail: (*Refer)(nil)},
	{Name: TypeMachineDetection, Detail: (*Machine)(nil), Answered: true},
	{Name: TypeMachineGreeting, Detail: (*Machine)(nil)},
	{Name: TypeMachinePremium, Detail: (*Machine)(nil), Answered: true},
	{Name: TypeMachinePremiumGreet, Detail: (*Machine)(nil)},
	{Name: TypeMachinePremiumStart},
	{Name: TypeMachineScreening, Detail: (*Machine)(nil), Answered: true},
	{Name: TypeDeepfakeResult, Detail: (*Deepfake)(nil)},
	{Name: TypeDeepfakeError, Detail: (*Deepfake)(nil)},
	{Name: TypeSpeakStarted},
	{Name: TypeSpeakEnded, Detail: (*Speech)(nil)},
	{Name: TypePlaybackStarted, Detail: (*Playback)(nil)},
	{Name: TypePlaybackEnded, Detail: (*Playback)(nil)},
	{Name: TypeDTMF, Detail: (*DTMF)(nil), Answered: true},
	{Name: TypeGatherEnded, Detail: (*Gather)(nil), Answered: true},
	{Name: TypePaymentProgress, Detail: (*Payment)(nil)},
	{Name: TypePaymentDone, Detail: (*Payment)(nil)},
	{Name: TypeTranscription, Detail: (*Utterance)(nil), Reports: true},
	{Name: TypeDialogflow, Detail: (*Utterance)(nil)},
	{Name: TypeAIGatherEnded, Detail: (*AIGather)(nil)},
	{Name: TypeAIGatherHistory, Detail: (*AIGather)(nil)},
	{Name: TypeAIGatherPartial, Detail: (*AIGather)(nil)},
	{Name: TypeConversationNew, Detail: (*Conversation)(nil)},
	{Name: TypeConversationEnded, Detail: (*Conversation)(nil), Closes: true},
	{Name: TypeConversationFailed, Detail: (*Conversation)(nil)},
	{Name: TypeInsights, Detail: (*Insights)(nil), After: true, Reports: true},
	{Name: TypeRecordingSaved, Detail: (*Recording)(nil), Answered: true, After: true, Reports: true},
	{Name: TypeRecordingError, Detail: (*RecordingError)(nil), After: true, Reports: true},
	{Name: TypeRecordingTranscription, Detail: (*Transcription)(nil), After: true, Reports: true},
	{Name: TypeForkStarted, Detail: (*Fork)(nil)},
	{Name: TypeForkStopped, Detail: (*Fork)(nil), Closes: true},
	{Name: TypeStreamingStarted, Detail: (*Streaming)(nil)},
	{Name: TypeStreamingStopped, Detail: (*Streaming)(nil), Closes: true},
	{Name: TypeStreamingFailed, Detail: (*Streaming)(nil)},
	{Name: TypeSIPRECStarted, Detail: (*SIPREC)(nil)},
	{Name: TypeSIPRECStopped, Detail: (*SIPREC)(nil), Closes: true},
	{Name: TypeSIPRECFailed, Detail: (*SIPREC)(nil)},
	{Name: TypeConferenceCreated, Detail: (*Conference)(nil)},
	{Name: TypeConferenceEnded, Detail: (*Conference)(nil), Reports: true},
	{Name: TypeConferenceFloor, Detail: (*Conference)(nil)},
	{Name: TypeConferenceJoined, Detail: (*Conference)(nil)},
	{Name: TypeConferenceLeft, Detail: (*Conference)(nil), Closes: true},
	{Name: TypeConferenceSpeakStarted, Detail: (*Speech)(nil)},
	{Name: TypeConferenceSpeakEnded, Detail: (*Speech)(nil)},
	{Name: TypeConferencePlaybackStarted, Detail: (*Playback)(nil)},
	{Name: TypeConferencePlaybackEnded, Detail: (*Playback)(nil)},
	{Name: TypeConferenceRecordingSaved, Detail: (*Recording)(nil), After: true, Reports: true},
	{Name: TypeParticipantSpeakStarted, Detail: (*Speech)(nil)},
	{Name: TypeParticipantSpeakEnded, Detail: (*Speech)(nil)},
	{Name: TypeParticipantPlaybackStarted, Detail: (*Playback)(nil)},
	{Name: TypeParticipantPlaybackEnded, Detail: (*Playback)(nil)},
}

var eventTypeByName = func() map[string]EventType {
	byName := make(map[string]EventType, len(eventTypes))
	for _, t := range eventTypes {
		byName[t.Name] = t
	}
	return byName
}()

// EventTypes returns a row for every event type that is named here.
func EventTypes() []EventType { return slices.Clone(eventTypes) }

// EventTypeOf returns what is known about a type: of one that is not named here its name.
func EventTypeOf(name string) EventType {
	if t, ok := eventTypeByName[name]; ok {
		return t
	}
	return EventType{Name: name}
}
