package call

// Event types of a leg's course, and the detail that their events carry. An
// event of any other type has none; it is kept in the timeline alike.
const (
	TypeInitiated = "call.initiated" // *Initiated
	TypeAnswered  = "call.answered"  // *Answered
	TypeBridged   = "call.bridged"   // none
	TypeHold      = "call.hold"      // none
	TypeUnhold    = "call.unhold"    // none
	TypeEnqueued  = "call.enqueued"  // *Queue
	TypeDequeued  = "call.dequeued"  // *Queue
	TypeHangup    = "call.hangup"    // *Hangup
	TypeCost      = "call.cost"      // *Cost

	TypeReferStarted   = "call.refer.started"   // *Refer
	TypeReferCompleted = "call.refer.completed" // *Refer
	TypeReferFailed    = "call.refer.failed"    // *Refer
)

// Event types of who is on the line.
const (
	TypeMachineDetection    = "call.machine.detection.ended"         // *Machine
	TypeMachineGreeting     = "call.machine.greeting.ended"          // *Machine
	TypeMachinePremium      = "call.machine.premium.detection.ended" // *Machine
	TypeMachinePremiumGreet = "call.machine.premium.greeting.ended"  // *Machine
	TypeDeepfakeResult      = "call.deepfake_detection.result"       // *Deepfake
	TypeDeepfakeError       = "call.deepfake_detection.error"        // *Deepfake
)

// Event types of what a leg heard, and of what it entered or said.
const (
	TypeSpeakStarted    = "call.speak.started"    // none
	TypeSpeakEnded      = "call.speak.ended"      // *Speech
	TypePlaybackStarted = "call.playback.started" // *Playback
	TypePlaybackEnded   = "call.playback.ended"   // *Playback

	TypeDTMF            = "call.dtmf.received"               // *DTMF
	TypeGatherEnded     = "call.gather.ended"                // *Gather
	TypePaymentProgress = "call.payment.progress"            // *Payment
	TypePaymentDone     = "call.payment.completed"           // *Payment
	TypeTranscription   = "call.transcription"               // *Utterance of a final piece, else none
	TypeDialogflow      = "dialogflow.detectintent.response" // *Utterance
)

// Event types of AI assistants.
const (
	TypeAIGatherEnded      = "call.ai_gather.ended"                   // *AIGather
	TypeAIGatherHistory    = "call.ai_gather.message_history_updated" // *AIGather
	TypeAIGatherPartial    = "call.ai_gather.partial_results"         // *AIGather
	TypeConversationNew    = "call.conversation.created"              // *Conversation
	TypeConversationEnded  = "call.conversation.ended"                // *Conversation
	TypeConversationFailed = "call.conversation.start_failed"         // *Conversation
	TypeInsights           = "call.conversation_insights.generated"   // *Insights
)

// Event types of recordings and of media that goes elsewhere.
const (
	TypeRecordingSaved         = "call.recording.saved"               // *Recording
	TypeRecordingError         = "call.recording.error"               // *RecordingError
	TypeRecordingTranscription = "call.recording.transcription.saved" // *Transcription

	TypeForkStarted      = "call.fork.started" // *Fork
	TypeForkStopped      = "call.fork.stopped" // *Fork
	TypeStreamingStarted = "streaming.started" // *Streaming
	TypeStreamingStopped = "streaming.stopped" // *Streaming
	TypeStreamingFailed  = "streaming.failed"  // *Streaming
	TypeSIPRECStarted    = "siprec.started"    // *SIPREC
	TypeSIPRECStopped    = "siprec.stopped"    // *SIPREC
	TypeSIPRECFailed     = "siprec.failed"     // *SIPREC
)

// Event types of conferences. Conferences also start and end the playing and
// speaking of TypeSpeakStarted and its siblings, to all or to one participant.
const (
	TypeConferenceCreated = "conference.created"            // *Conference
	TypeConferenceEnded   = "conference.ended"              // *Conference
	TypeConferenceFloor   = "conference.floor.changed"      // *Conference
	TypeConferenceJoined  = "conference.participant.joined" // *Conference
	TypeConferenceLeft    = "conference.participant.left"   // *Conference

	TypeConferenceSpeakStarted    = "conference.speak.started"    // *Speech
	TypeConferenceSpeakEnded      = "conference.speak.ended"      // *Speech
	TypeConferencePlaybackStarted = "conference.playback.started" // *Playback
	TypeConferencePlaybackEnded   = "conference.playback.ended"   // *Playback
	TypeConferenceRecordingSaved  = "conference.recording.saved"  // *Recording

	TypeParticipantSpeakStarted    = "conference.participant.speak.started"    // *Speech
	TypeParticipantSpeakEnded      = "conference.participant.speak.ended"      // *Speech
	TypeParticipantPlaybackStarted = "conference.participant.playback.started" // *Playback
	TypeParticipantPlaybackEnded   = "conference.participant.playback.ended"   // *Playback
)

// EventTypes returns every event type that is named here: those that summaries can
// show. Telnyx has others, and will have more.
func EventTypes() []string {
	return []string{
		TypeInitiated, TypeAnswered, TypeBridged, TypeHold, TypeUnhold, TypeEnqueued, TypeDequeued,
		TypeHangup, TypeCost, TypeReferStarted, TypeReferCompleted, TypeReferFailed, TypeMachineDetection,
		TypeMachineGreeting, TypeMachinePremium, TypeMachinePremiumGreet, TypeDeepfakeResult,
		TypeDeepfakeError, TypeSpeakStarted, TypeSpeakEnded, TypePlaybackStarted, TypePlaybackEnded,
		TypeDTMF, TypeGatherEnded, TypePaymentProgress, TypePaymentDone, TypeTranscription, TypeDialogflow,
		TypeAIGatherEnded, TypeAIGatherHistory, TypeAIGatherPartial, TypeConversationNew,
		TypeConversationEnded, TypeConversationFailed, TypeInsights, TypeRecordingSaved, TypeRecordingError,
		TypeRecordingTranscription, TypeForkStarted, TypeForkStopped, TypeStreamingStarted,
		TypeStreamingStopped, TypeStreamingFailed, TypeSIPRECStarted, TypeSIPRECStopped, TypeSIPRECFailed,
		TypeConferenceCreated, TypeConferenceEnded, TypeConferenceFloor, TypeConferenceJoined,
		TypeConferenceLeft, TypeConferenceSpeakStarted, TypeConferenceSpeakEnded,
		TypeConferencePlaybackStarted, TypeConferencePlaybackEnded, TypeConferenceRecordingSaved,
		TypeParticipantSpeakStarted, TypeParticipantSpeakEnded, TypeParticipantPlaybackStarted,
		TypeParticipantPlaybackEnded,
	}
}
