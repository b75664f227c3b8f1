# The summaries of legs and sessions that Legato publishes,
# made from the JSON Schemas in enrich/summary/schema: go test ./docs/consumers -run Types -update
#
# An absent field is not known; null is never written. Fields and words may be added:
# pass over those that you do not know. Python 3.11 or later.
import json
from typing import Literal, NotRequired, TypedDict

# Reason says why a revision was made.
# late_event: a webhook came after the summary.
# status_confirmed: the status was confirmed after the summary.
# status_failed: asking ended without a confirmation, or its result changed.
# recording: a recording was saved, of the leg or of its conference.
# cost: the cost became known.
# transcription: a recording was transcribed.
# insights: insights of a conversation were generated.
# leg_added: a leg joined the session after its summary.
# leg_revised: a leg of the session was revised.
# backfill: an event was filled in from the provider's history.
Reason = Literal[
    "late_event",
    "status_confirmed",
    "status_failed",
    "recording",
    "cost",
    "transcription",
    "insights",
    "leg_added",
    "leg_revised",
    "backfill",
]

# STIRShaken is how far the caller's number is vouched for.
STIRShaken = TypedDict(
    "STIRShaken",
    {
        # attestation is shaken_stir_attestation, else the one within call_screening_result: A (full), B (partial)
        # or C (gateway).
        "attestation": NotRequired[str],
        # validated is shaken_stir_validated: whether the certificate was found good.
        "validated": NotRequired[bool],
    },
)

# Header is one SIP header.
Header = TypedDict(
    "Header",
    {
        # name is its name. Always.
        "name": str,
        # value is its value.
        "value": NotRequired[str],
    },
)

# Headers are the SIP headers that initiated, answered and hangup stated, each pair of name and value once, in the
# order in which they were first stated; the first 32 of either list. SIPREC's X-metadata-xml is left out.
Headers = TypedDict(
    "Headers",
    {
        # custom are custom_headers.
        "custom": NotRequired[list[Header]],
        # sip are sip_headers: User-to-User and Diversion.
        "sip": NotRequired[list[Header]],
    },
)

# Outcome is what became of a leg.
# answered: somebody or something answered.
# no_answer: it rang until the time was over.
# busy: the called party was busy.
# rejected: the called party or its network refused.
# canceled: the calling party gave up before an answer.
# failed: the call could not be put through.
# unknown: nothing that was seen tells.
Outcome = Literal[
    "answered",
    "no_answer",
    "busy",
    "rejected",
    "canceled",
    "failed",
    "unknown",
]

# AnsweredBy is who answered a leg, by answering-machine detection.
AnsweredBy = Literal[
    "human",
    "machine",
    "fax",
    "silence",
    "unknown",
]

# Time is an instant in UTC, written as RFC 3339 with six fractional digits and Z.
Time = str

# Seconds is a duration in seconds, written as a number with one to three decimals.
Seconds = float

# Source is where a value comes from.
# webhook: an event that Telnyx sent.
# status: the status API.
# backfill: an event filled in from the provider's history.
Source = Literal[
    "webhook",
    "status",
    "backfill",
]

# Party is who ended a leg, as seen from Telnyx's customer.
Party = Literal[
    "local",
    "remote",
    "unknown",
]

# Fault is an error that Telnyx reports, without its free text.
Fault = TypedDict(
    "Fault",
    {
        # code is error_code or code, title is title: the code in words.
        "code": NotRequired[str],
        # code is error_code or code, title is title: the code in words.
        "title": NotRequired[str],
    },
)

# Hangup is what call.hangup said, in Telnyx's words, with one derived field.
Hangup = TypedDict(
    "Hangup",
    {
        # cause is hangup_cause, an open vocabulary: normal_clearing, user_busy, timeout, ….
        "cause": NotRequired[str],
        # source is hangup_source: caller, callee or unknown.
        "source": NotRequired[str],
        # sip_code is sip_hangup_cause: a SIP status as text, or another word of Telnyx's.
        "sip_code": NotRequired[str],
        # party is who ended the leg as seen from Telnyx's customer: local (our side), remote or unknown.
        "party": NotRequired[Party],
        # fault is telnyx_error: what Telnyx itself blames.
        "fault": NotRequired[Fault],
    },
)

# EndedBy is how Legato knows that a leg is over.
# hangup: its call.hangup was received.
# status: the status API said so; the hangup was not received.
# gone: the status API does not know the leg any more.
# expired: longer than any leg can live, nothing was heard of it.
EndedBy = Literal[
    "hangup",
    "status",
    "gone",
    "expired",
]

# StatusState is the result of asking the status API about a leg.
# confirmed: Telnyx confirmed that the leg ended.
# pending: not confirmed. With final it stays so: Telnyx's last answer still called the leg alive.
# not_found: Telnyx does not know the leg (404 or 422).
# denied: the API key was refused (401 or 403).
# rate_limited: Telnyx asked for patience (429).
# unreachable: no usable answer (network, timeout, 5xx, not JSON, another call's ids).
# not_asked: nothing was asked: there is no control id to ask with, or, where there is one, no turn to ask came
# before the window was over.
StatusState = Literal[
    "confirmed",
    "pending",
    "not_found",
    "denied",
    "rate_limited",
    "unreachable",
    "not_asked",
]

# Status is the answer of GET /v2/calls/{call_control_id}, or why there is none.
Status = TypedDict(
    "Status",
    {
        # state is the result of asking: pending while it is not confirmed; with final it stays so. Always.
        "state": StatusState,
        # final tells that state cannot change any more; what an answer stated is absent before. Always.
        "final": bool,
        # is_alive is the answer's is_alive.
        "is_alive": NotRequired[bool],
        # call_duration is the answer's call_duration in seconds, from 0 to 86,400; Telnyx does not state its basis.
        "call_duration": NotRequired[Seconds],
        # start_time and end_time are the answer's.
        "start_time": NotRequired[Time],
        # start_time and end_time are the answer's.
        "end_time": NotRequired[Time],
        # client_state is the answer's, base64.
        "client_state": NotRequired[str],
        # record_type is the answer's: "call".
        "record_type": NotRequired[str],
        # fetched_at is when the answer that state stands on was received. Bookkeeping.
        "fetched_at": NotRequired[Time],
        # attempts counts the requests that were made. Bookkeeping.
        "attempts": NotRequired[int],
        # http_status is that of the last attempt; absent when there was no answer at all. Bookkeeping.
        "http_status": NotRequired[int],
    },
)

# Discrepancy is one field on which webhook and status differ by more than a second. Which of them stands, sources
# says: a status that cannot be true of the call, or that may be the time of the answer, does not.
Discrepancy = TypedDict(
    "Discrepancy",
    {
        # field is started_at or ended_at. Always.
        "field": str,
        # webhook and status are the two values. Always.
        "webhook": Time,
        # webhook and status are the two values. Always.
        "status": Time,
        # difference_seconds is the status's value less the webhook's. Always.
        "difference_seconds": Seconds,
    },
)

# StreamQuality is the quality of one direction of the media.
StreamQuality = TypedDict(
    "StreamQuality",
    {
        # mos is the mean opinion score, 1 to 5. Absent without packets, which it would say nothing about.
        "mos": NotRequired[float],
        # jitter_max_variance is Telnyx's jitter_max_variance, of undocumented unit.
        "jitter_max_variance": NotRequired[float],
        # jitter_packets, packets and skipped_packets are counts.
        "jitter_packets": NotRequired[int],
        # jitter_packets, packets and skipped_packets are counts.
        "packets": NotRequired[int],
        # jitter_packets, packets and skipped_packets are counts.
        "skipped_packets": NotRequired[int],
    },
)

# Quality is call_quality_stats of call.hangup with its numbers as numbers.
Quality = TypedDict(
    "Quality",
    {
        "inbound": NotRequired[StreamQuality],
        "outbound": NotRequired[StreamQuality],
    },
)

# Recording is one call.recording.saved, or conference.recording.saved of a conference.
Recording = TypedDict(
    "Recording",
    {
        # id is recording_id; where Telnyx does not send it, the id of the event. Always.
        "id": str,
        # channels is single or dual; format is mp3 or wav.
        "channels": NotRequired[str],
        # channels is single or dual; format is mp3 or wav.
        "format": NotRequired[str],
        # started_at and ended_at bound the recording, not the call.
        "started_at": NotRequired[Time],
        # started_at and ended_at bound the recording, not the call.
        "ended_at": NotRequired[Time],
        # urls lead to the recording by format. Telnyx's own open without a password until urls_expire_at; those
        # into the customer's own storage (s3, gs, Azure) open with the customer's rights only, and do not expire.
        "urls": NotRequired[dict[str, str]],
        # urls_expire_at is when the first of the urls stops working, as they say themselves (X-Amz-Date and
        # X-Amz-Expires). Absent where none says it.
        "urls_expire_at": NotRequired[Time],
        # public_urls are those of a recording that was made public.
        "public_urls": NotRequired[dict[str, str]],
    },
)

# RecordingError is one call.recording.error.
RecordingError = TypedDict(
    "RecordingError",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # reason is reason, a sentence.
        "reason": NotRequired[str],
    },
)

# Transcription is the text of a recording: one call.recording.transcription.saved.
Transcription = TypedDict(
    "Transcription",
    {
        # id is recording_transcription_id; where Telnyx does not send it, the id of the event. Always.
        "id": str,
        # recording_id is recording_id: the id of one of the recordings.
        "recording_id": NotRequired[str],
        # at is when it occurred.
        "at": NotRequired[Time],
        # status is status: completed.
        "status": NotRequired[str],
        # text is transcription_text, its first 64 KiB at most.
        "text": NotRequired[str],
        # text_omitted is how many bytes of the text are left out. Absent: none.
        "text_omitted": NotRequired[int],
    },
)

# Piece is something that was said at one go.
Piece = TypedDict(
    "Piece",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # track is transcription_track: inbound or outbound.
        "track": NotRequired[str],
        # text is transcript, its first 4 KiB at most.
        "text": NotRequired[str],
        # confidence is confidence, from 0 to 1.
        "confidence": NotRequired[float],
    },
)

# Transcript is a live transcript: the final pieces of call.transcription, and what Dialogflow heard.
Transcript = TypedDict(
    "Transcript",
    {
        # pieces are its first ones by time: at most 500 of them, with 64 KiB of text.
        "pieces": NotRequired[list[Piece]],
        # text_omitted is how many bytes of text are left out, with or without their piece. Absent: none.
        "text_omitted": NotRequired[int],
    },
)

# Stream is one event of media that goes elsewhere.
Stream = TypedDict(
    "Stream",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # kind is streaming, fork or siprec; state is started, stopped or failed. Always.
        "kind": str,
        # kind is streaming, fork or siprec; state is started, stopped or failed. Always.
        "state": str,
        # stream_id is stream_id.
        "stream_id": NotRequired[str],
        # type is stream_type: websocket, dialogflow or decrypted.
        "type": NotRequired[str],
        # track is stream_params.track: inbound_track, outbound_track or both_tracks.
        "track": NotRequired[str],
        # reason is failure_reason, failure_cause, or hangup_cause of a SIPREC session that stopped.
        "reason": NotRequired[str],
    },
)

# MachineDetection is what answering-machine detection reported.
MachineDetection = TypedDict(
    "MachineDetection",
    {
        # result is Telnyx's word of the detection: human, machine, not_sure, human_residence, ….
        "result": NotRequired[str],
        # greeting is Telnyx's word of the greeting: beep_detected, ended, not_sure, no_beep_detected, or
        # prompt_ended of a prompt that ended without a beep where call screenings are looked for.
        "greeting": NotRequired[str],
        # premium tells that premium detection was used.
        "premium": NotRequired[bool],
        # detected_at is when the detection occurred, greeting_at when the greeting did.
        "detected_at": NotRequired[Time],
        # detected_at is when the detection occurred, greeting_at when the greeting did.
        "greeting_at": NotRequired[Time],
        # screened_at is when Apple Call Screening was last detected: the phone answered itself to ask who calls.
        # What was detected before is void, and the detection starts again.
        "screened_at": NotRequired[Time],
    },
)

# Deepfake is what deepfake detection reported: the last result and the last error by occurrence.
Deepfake = TypedDict(
    "Deepfake",
    {
        # result is result: real, fake or silence_timeout.
        "result": NotRequired[str],
        # score is score: how likely the voice is made, from 0 to 1.
        "score": NotRequired[float],
        # consistency is consistency, in percent by Telnyx's example.
        "consistency": NotRequired[float],
        # at is when the result occurred.
        "at": NotRequired[Time],
        # error is error_message: detection_timeout, rtp_timeout, ….
        "error": NotRequired[str],
        # error_at is when the error occurred.
        "error_at": NotRequired[Time],
    },
)

# Digit is one call.dtmf.received that states its key.
Digit = TypedDict(
    "Digit",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # digit is digit: 0 to 9, *, #, A to D. Always.
        "digit": str,
    },
)

# DTMF counts keys. Digits are secrets (PINs, cards): they are shown only where the deployment includes them.
DTMF = TypedDict(
    "DTMF",
    {
        # count is how many call.dtmf.received there were. Always.
        "count": int,
        # digits are the keys that were pressed, by time: the first and the last 128 at most. Absent unless the
        # deployment includes them.
        "digits": NotRequired[list[Digit]],
    },
)

# Gather is one call.gather.ended. Its digits are shown only where the deployment includes them.
Gather = TypedDict(
    "Gather",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it ended.
        "at": NotRequired[Time],
        # status is status: valid, invalid, timeout, call_hangup, ….
        "status": NotRequired[str],
        # digit_count is how many digits were entered; 0 where Telnyx states none. Always.
        "digit_count": int,
        # digits are the digits themselves, the first 128 at most. Absent unless the deployment includes them.
        "digits": NotRequired[str],
    },
)

# Playback is one playing of audio that ended: call.playback.ended and its siblings in conferences.
Playback = TypedDict(
    "Playback",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it ended.
        "at": NotRequired[Time],
        # media is media_name, or the file name in media_url.
        "media": NotRequired[str],
        # status is status: completed, failed, file_not_found, cancelled, call_hangup, ….
        "status": NotRequired[str],
        # status_detail is status_detail: why it failed. Of URLs in it only the host is shown.
        "status_detail": NotRequired[str],
        # conference_id is conference_id. Absent: it was played to the leg.
        "conference_id": NotRequired[str],
    },
)

# Speak is one text that was spoken to its end: call.speak.ended and its siblings in conferences.
Speak = TypedDict(
    "Speak",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it ended.
        "at": NotRequired[Time],
        # status is status: completed, call_hangup, ….
        "status": NotRequired[str],
        # conference_id is conference_id. Absent: it was spoken to the leg.
        "conference_id": NotRequired[str],
    },
)

# Payment is one step of taking a payment: call.payment.progress and call.payment.completed.
Payment = TypedDict(
    "Payment",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # step is payment_step of a progress: payment-card-number, payment-processing, ….
        "step": NotRequired[str],
        # status is payment_status of a progress, and of a completed payment its result: success,
        # payment-connector-error, ….
        "status": NotRequired[str],
        # charge_id is charge_id of a payment that was charged.
        "charge_id": NotRequired[str],
        # confirmation_code is payment_confirmation_code.
        "confirmation_code": NotRequired[str],
        # connector_error is connector_error, where it is a code, or the code in it.
        "connector_error": NotRequired[str],
        # error_code is the code that Telnyx or the payment's connector gave. Absent: no error.
        "error_code": NotRequired[str],
    },
)

# QueueVisit is one stay in a queue: a call.enqueued and the next call.dequeued of the same queue.
QueueVisit = TypedDict(
    "QueueVisit",
    {
        # id is that of the call.enqueued, else of the call.dequeued. Always.
        "id": str,
        # name is the queue's.
        "name": NotRequired[str],
        # entered_at and left_at are when the two occurred. Absent: it was not received.
        "entered_at": NotRequired[Time],
        # entered_at and left_at are when the two occurred. Absent: it was not received.
        "left_at": NotRequired[Time],
        # entered_position is current_position of the call.enqueued, left_position queue_position of the
        # call.dequeued.
        "entered_position": NotRequired[int],
        # entered_position is current_position of the call.enqueued, left_position queue_position of the
        # call.dequeued.
        "left_position": NotRequired[int],
        # average_wait_seconds is queue_avg_wait_time_secs of the call.enqueued: what the queue's others waited by
        # then.
        "average_wait_seconds": NotRequired[Seconds],
        # wait_seconds is wait_time_secs of the call.dequeued.
        "wait_seconds": NotRequired[Seconds],
        # reason is why the leg left: bridged, hangup, timeout, ….
        "reason": NotRequired[str],
    },
)

# Conference is one conference that the leg took part in, or that the session created.
Conference = TypedDict(
    "Conference",
    {
        # id is conference_id. Always.
        "id": str,
        # joined_at is when the leg first joined, left_at when it last left.
        "joined_at": NotRequired[Time],
        # joined_at is when the leg first joined, left_at when it last left.
        "left_at": NotRequired[Time],
        # created_at and ended_at bound the conference, where Telnyx told this leg or session.
        "created_at": NotRequired[Time],
        # created_at and ended_at bound the conference, where Telnyx told this leg or session.
        "ended_at": NotRequired[Time],
        # reason is why the conference ended: all_left, host_left or time_exceeded.
        "reason": NotRequired[str],
        # recordings are those of the conference that Telnyx told this leg or session of, by start: others speak on
        # them as well.
        "recordings": NotRequired[list[Recording]],
    },
)

# Refer is one step of handing the leg over by SIP REFER.
Refer = TypedDict(
    "Refer",
    {
        # id is the event's. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # state is started, completed or failed. Always.
        "state": str,
        # sip_code is sip_notify_response: the SIP status that the other party notified, as text.
        "sip_code": NotRequired[str],
    },
)

# Conversation is one conversation with an AI assistant: call.conversation.created, .ended and .start_failed.
Conversation = TypedDict(
    "Conversation",
    {
        # id is conversation_id; where Telnyx does not send it, the id of the event. Always.
        "id": str,
        # assistant_id is assistant_id.
        "assistant_id": NotRequired[str],
        # started_at, ended_at and failed_at are when the three events occurred.
        "started_at": NotRequired[Time],
        # started_at, ended_at and failed_at are when the three events occurred.
        "ended_at": NotRequired[Time],
        # started_at, ended_at and failed_at are when the three events occurred.
        "failed_at": NotRequired[Time],
        # duration_seconds is duration_sec.
        "duration_seconds": NotRequired[Seconds],
        # reason is why it ended, or why it could not start: invalid_request or service_error.
        "reason": NotRequired[str],
        # llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
        "llm_model": NotRequired[str],
        # llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
        "stt_model": NotRequired[str],
        # llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
        "tts_model": NotRequired[str],
        # llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
        "tts_provider": NotRequired[str],
        # llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
        "tts_voice": NotRequired[str],
    },
)

# Message is what one side said in an AI gather.
Message = TypedDict(
    "Message",
    {
        # role is assistant or user.
        "role": NotRequired[str],
        # content is what was said, its first 2 KiB.
        "content": NotRequired[str],
    },
)

# AIGather is what one call.ai_gather asked for. What it came to is a secret as digits are, and is not shown.
AIGather = TypedDict(
    "AIGather",
    {
        # id is that of the call.ai_gather.ended; of a gather whose end was not received that of its first event.
        # Always.
        "id": str,
        # at is when the last of its events occurred.
        "at": NotRequired[Time],
        # status is status: valid, timeout, …. Absent: its end was not received.
        "status": NotRequired[str],
        # message_count is how many messages were exchanged. Always.
        "message_count": int,
        # messages are the last of them, in order: at most 64, with 16 KiB of text.
        "messages": NotRequired[list[Message]],
    },
)

# Insight is one result of a call.conversation_insights.generated.
Insight = TypedDict(
    "Insight",
    {
        # id is the event's, the same of all its results. Always.
        "id": str,
        # at is when it occurred.
        "at": NotRequired[Time],
        # group_id is insight_group_id, insight_id is insight_id.
        "group_id": NotRequired[str],
        # group_id is insight_group_id, insight_id is insight_id.
        "insight_id": NotRequired[str],
        # text is the result where it is text. json is it as json text where it is anything else: its form is the
        # insight's own.
        "text": NotRequired[str],
        # text is the result where it is text. json is it as json text where it is anything else: its form is the
        # insight's own.
        "json": NotRequired[str],
    },
)

# AI is what AI assistants did on a leg.
AI = TypedDict(
    "AI",
    {
        # conversations are those with an assistant, by time.
        "conversations": NotRequired[list[Conversation]],
        # gathers are what an assistant asked for, by time.
        "gathers": NotRequired[list[AIGather]],
        # insights are answers to questions asked about the conversation, by time.
        "insights": NotRequired[list[Insight]],
    },
)

# CostPart is one charge.
CostPart = TypedDict(
    "CostPart",
    {
        # part is call_part: sip-trunking, call-control, ….
        "part": NotRequired[str],
        # amount and rate are decimal text in currency.
        "amount": NotRequired[str],
        # amount and rate are decimal text in currency.
        "currency": NotRequired[str],
        # amount and rate are decimal text in currency.
        "rate": NotRequired[str],
        # billed_seconds is what was billed for.
        "billed_seconds": NotRequired[int],
    },
)

# Amount is money: decimal text in one currency.
Amount = TypedDict(
    "Amount",
    {
        # currency is ISO 4217; absent when Telnyx named none.
        "currency": NotRequired[str],
        # amount is decimal text. Always.
        "amount": str,
    },
)

# Cost is what call.cost said about a leg. Amounts are decimal text. Of several call.cost, which is no delivery
# twice, parts of other names add up; of a part that is stated again the later amount stands.
Cost = TypedDict(
    "Cost",
    {
        # status is success or error.
        "status": NotRequired[str],
        # billed_seconds is billed_duration_secs.
        "billed_seconds": NotRequired[int],
        # parts are the charges.
        "parts": NotRequired[list[CostPart]],
        # total_cost is total_cost as it was stated, in the parts' currency.
        "total_cost": NotRequired[str],
        # totals are the amounts of the parts added up, one a currency. Where total_cost is another amount, or parts
        # state none, total_cost stands here; with parts in several currencies their sums do.
        "totals": NotRequired[list[Amount]],
    },
)

# Note is a word about what is doubtful in a summary.
# initiated_missing: call.initiated was not received; direction, and on outgoing legs the start, may be unknown.
# answered_missing: the leg was answered, by its bridge or its hangup, but call.answered was not received: ring and
# talk time are unknown.
# answered_without_initiated: call.answered was received and call.initiated was not: the talk time is known, whose
# call it was may not be.
# hangup_missing: call.hangup was not received; ended_by says how the end is known.
# redelivered: an event was received with its second or a later delivery only: the ones before it failed, so others
# may have been lost. Deliveries that come after the one that was taken are not noted. Like clock_skew it depends on
# what was received when.
# clock_skew: an event occurred more than a minute after it was received: Telnyx's clock and the log's differ. An
# event that was received long after it occurred may just be late, and is not noted.
# negative_duration: an end lies before its beginning; the seconds between are left out.
# mos_without_packets: Telnyx stated a mean opinion score of a stream without packets; it is left out.
# details_cut: something in an event was longer than it may be, and was cut or left out when it was read. The whole
# is in the log.
# field_unread: an event stated something that could not be read: unread_fields says in which fields.
# cost_total_differs: the stated total_cost is not the sum of the parts; it counts in their place.
# cost_added: several call.cost of other parts each: they are added up.
# cost_corrected: a call.cost stated a part of an earlier one with another amount: it took its place.
# discrepancy: webhook and status differ: discrepancies says where. Or the status states a time that no webhook does
# and that cannot be true: then status alone shows it.
Note = Literal[
    "initiated_missing",
    "answered_missing",
    "answered_without_initiated",
    "hangup_missing",
    "redelivered",
    "clock_skew",
    "negative_duration",
    "mos_without_packets",
    "details_cut",
    "field_unread",
    "cost_total_differs",
    "cost_added",
    "cost_corrected",
    "discrepancy",
]

# Part is something that the summary of a leg is made of.
# initiated: a call.initiated.
# answered: a call.answered.
# hangup: a call.hangup.
# status: a confirmation by the status API.
# recording: at least one recording of the leg.
# cost: a call.cost, whatever its status.
Part = Literal[
    "initiated",
    "answered",
    "hangup",
    "status",
    "recording",
    "cost",
]

# Completeness tells what is in, and what is not though it should be.
Completeness = TypedDict(
    "Completeness",
    {
        # received are the parts that are in.
        "received": NotRequired[list[Part]],
        # expected are those that are to come by what is known, though some may be lost: initiated and hangup of
        # every leg, answered of one that was, status until it is final, recording when a transcription tells of it.
        # Nothing tells whether a cost will come.
        "expected": NotRequired[list[Part]],
    },
)

# Event is one line of the timeline.
Event = TypedDict(
    "Event",
    {
        # id and type are the identity of the event. Always.
        "id": str,
        # id and type are the identity of the event. Always.
        "type": str,
        # occurred_at is by Telnyx's clock.
        "occurred_at": NotRequired[Time],
        # received_at is by the log's clock. Always.
        "received_at": Time,
        # attempt is Telnyx's delivery attempt, from 1.
        "attempt": NotRequired[int],
        # backfill marks an event that was filled in from the provider's history.
        "backfill": NotRequired[bool],
        # approximate tells of such an event that the history did not say when it occurred: occurred_at is when a
        # delivery of it was noted.
        "approximate": NotRequired[bool],
    },
)

# Times are Legato's own milestones of a leg.
Times = TypedDict(
    "Times",
    {
        # hangup_received_at is when the log took the hangup.
        "hangup_received_at": NotRequired[Time],
        # enriched_at is when the status was confirmed.
        "enriched_at": NotRequired[Time],
    },
)

# Leg is the summary of one leg of a call. "Always" marks the fields that are present in every message; any other is
# absent when it is not known.
Leg = TypedDict(
    "Leg",
    {
        # kind is "leg". Always.
        "kind": Literal["leg"],
        # schema is the version of this shape. Always.
        "schema": Literal[1],
        # revision counts the publications of this leg, from 1. Always.
        "revision": int,
        # changed are JSON Pointers to what differs from the previous revision, arrays as a whole, bookkeeping left
        # out. Absent on revision 1.
        "changed": NotRequired[list[str]],
        # reasons say why this revision was made. Absent on revision 1.
        "reasons": NotRequired[list[Reason]],
        # call_session_id is Telnyx's call_session_id. Always.
        "call_session_id": str,
        # call_leg_id is Telnyx's call_leg_id. Always.
        "call_leg_id": str,
        # call_control_id is Telnyx's call_control_id, the leg's handle in its API.
        "call_control_id": NotRequired[str],
        # connection_id is Telnyx's connection_id, decimal text.
        "connection_id": NotRequired[str],
        # direction is "incoming" or "outgoing"; only call.initiated states it.
        "direction": NotRequired[str],
        # from and to are the parties in Telnyx's own words, unchanged.
        "from": NotRequired[str],
        # from and to are the parties in Telnyx's own words, unchanged.
        "to": NotRequired[str],
        # from_sip_uri and to_sip_uri are the parties as SIP had them, mostly without a scheme.
        "from_sip_uri": NotRequired[str],
        # from_sip_uri and to_sip_uri are the parties as SIP had them, mostly without a scheme.
        "to_sip_uri": NotRequired[str],
        # caller_name is caller_id_name of call.initiated.
        "caller_name": NotRequired[str],
        # calling_party_type is calling_party_type, of the first event that states it: pstn or sip.
        "calling_party_type": NotRequired[str],
        # stir_shaken is how far the caller's number is vouched for, from call.initiated.
        "stir_shaken": NotRequired[STIRShaken],
        # screening is call_screening_result of call.initiated, or its action where it is an object: spam_likely,
        # ….
        "screening": NotRequired[str],
        # codec is the codec agreed on, from call.answered: PCMU, ….
        "codec": NotRequired[str],
        # sampling_rate is its sampling rate in Hz, from call.answered.
        "sampling_rate": NotRequired[int],
        # offered_codecs is offered_codecs of call.initiated, in the far end's order: PCMU,G729.
        "offered_codecs": NotRequired[str],
        # headers are the SIP headers of the leg.
        "headers": NotRequired[Headers],
        # outcome is what became of the leg. Always.
        "outcome": Outcome,
        # answered_by is who answered, by the last answering-machine detection. A beep makes silence, not_sure or no
        # result at all a machine. After a call screening it is unknown until there is another result.
        "answered_by": NotRequired[AnsweredBy],
        # first_received_at is when the log took the first event of this leg. Always.
        "first_received_at": Time,
        # published_at is when this revision was made. Always.
        "published_at": Time,
        # started_at is when the leg began to ring.
        "started_at": NotRequired[Time],
        # answered_at is when call.answered occurred.
        "answered_at": NotRequired[Time],
        # bridged_at is when the leg was first bridged to another.
        "bridged_at": NotRequired[Time],
        # ended_at is when the leg ended.
        "ended_at": NotRequired[Time],
        # duration_seconds is ended_at less started_at. Like all seconds of a leg it lies from 0 to 86,400; what
        # would not is left out.
        "duration_seconds": NotRequired[Seconds],
        # ring_seconds is start to answer, or to the end when the leg is known to be never answered.
        "ring_seconds": NotRequired[Seconds],
        # talk_seconds is answer to end, hold and queue included; 0 when the leg is known to be never answered.
        "talk_seconds": NotRequired[Seconds],
        # bridged_seconds is the first bridge to the end.
        "bridged_seconds": NotRequired[Seconds],
        # hold_seconds is the time between call.hold and call.unhold (or the end), added up.
        "hold_seconds": NotRequired[Seconds],
        # queue_seconds is wait_time_secs of the call.dequeued events, added up.
        "queue_seconds": NotRequired[Seconds],
        # sources tell where started_at, answered_at, bridged_at and ended_at come from.
        "sources": NotRequired[dict[str, Source]],
        # hangup is what call.hangup said. Absent when no hangup was seen.
        "hangup": NotRequired[Hangup],
        # ended_by is how Legato knows that the leg is over. Always.
        "ended_by": EndedBy,
        # status is what the status API said. Always.
        "status": Status,
        # discrepancies are the fields on which webhook and status differ by more than a second.
        "discrepancies": NotRequired[list[Discrepancy]],
        # quality is the media quality of the leg, from call.hangup.
        "quality": NotRequired[Quality],
        # recordings are the saved recordings of the leg, by start. Those of a conference stand in conferences.
        "recordings": NotRequired[list[Recording]],
        # recording_errors are the recordings that failed, by time.
        "recording_errors": NotRequired[list[RecordingError]],
        # transcriptions are the texts of recordings, by time.
        "transcriptions": NotRequired[list[Transcription]],
        # transcript is what was said, as it was transcribed live.
        "transcript": NotRequired[Transcript],
        # streams tell when media went elsewhere, by time.
        "streams": NotRequired[list[Stream]],
        # machine_detection is what answering-machine detection reported.
        "machine_detection": NotRequired[MachineDetection],
        # deepfake is what deepfake detection reported.
        "deepfake": NotRequired[Deepfake],
        # dtmf counts the keys that were pressed. Absent: none was reported.
        "dtmf": NotRequired[DTMF],
        # gathers are the entries that the application asked for, by time.
        "gathers": NotRequired[list[Gather]],
        # playbacks and speaks are the playings of audio and the spoken texts that ended, by time.
        "playbacks": NotRequired[list[Playback]],
        # playbacks and speaks are the playings of audio and the spoken texts that ended, by time.
        "speaks": NotRequired[list[Speak]],
        # payments are the steps of taking payment, by time. Of card and payer nothing is shown.
        "payments": NotRequired[list[Payment]],
        # queues are the queues that the leg waited in, by time.
        "queues": NotRequired[list[QueueVisit]],
        # conferences are the conferences that the leg took part in, by time.
        "conferences": NotRequired[list[Conference]],
        # refers are the steps of handing the leg over by SIP REFER, by time.
        "refers": NotRequired[list[Refer]],
        # ai is what artificial assistants did on the leg.
        "ai": NotRequired[AI],
        # cost is what call.cost said.
        "cost": NotRequired[Cost],
        # client_state is the last one that the application attached, base64.
        "client_state": NotRequired[str],
        # client_state_text is client_state decoded, where that gives at most 4 KiB of printable text in UTF-8.
        "client_state_text": NotRequired[str],
        # tags are the application's tags.
        "tags": NotRequired[list[str]],
        # notes are what is doubtful about this summary. Absent: nothing is.
        "notes": NotRequired[list[Note]],
        # unread_fields are the names of the fields of which an event stated something that could not be read,
        # because it was of a type or form that Legato does not know: call_quality_stats, cost_parts.cost, …. What
        # was stated is in the log. Absent: all was read.
        "unread_fields": NotRequired[list[str]],
        # completeness tells what is in and what is still to come.
        "completeness": NotRequired[Completeness],
        # omitted counts what was left out of a list, by its field ("playbacks", "ai.insights"): a summary has
        # bounds. Of most lists the first and the last entries are kept; texts that were cut say so themselves.
        # Absent: nothing was.
        "omitted": NotRequired[dict[str, int]],
        # events is the timeline: every event once, by time of occurrence; its first and last 250 when there are
        # more. Always.
        "events": list[Event],
        # events_omitted counts the events left out of the middle of events.
        "events_omitted": NotRequired[int],
        # times are Legato's own milestones.
        "times": NotRequired[Times],
    },
)

# SessionHangup is the hangup that ended the last conversation of a call.
SessionHangup = TypedDict(
    "SessionHangup",
    {
        # call_leg_id is the leg that was hung up. Always.
        "call_leg_id": str,
        # cause is hangup_cause, an open vocabulary: normal_clearing, user_busy, timeout, ….
        "cause": NotRequired[str],
        # source is hangup_source: caller, callee or unknown.
        "source": NotRequired[str],
        # sip_code is sip_hangup_cause: a SIP status as text, or another word of Telnyx's.
        "sip_code": NotRequired[str],
        # party is who ended the leg as seen from Telnyx's customer: local (our side), remote or unknown.
        "party": NotRequired[Party],
        # fault is telnyx_error: what Telnyx itself blames.
        "fault": NotRequired[Fault],
    },
)

# Bridge is one joining of legs.
Bridge = TypedDict(
    "Bridge",
    {
        # at is when it occurred. Always.
        "at": Time,
        # legs are the call_leg_ids of this session that were joined; a single one was joined to a leg of another
        # session. Always.
        "legs": list[str],
    },
)

# SessionCost adds up the costs of a session's legs.
SessionCost = TypedDict(
    "SessionCost",
    {
        # legs_costed counts the legs whose cost is known, legs_total all. Always.
        "legs_costed": int,
        # legs_costed counts the legs whose cost is known, legs_total all. Always.
        "legs_total": int,
        # totals are the amounts added up, one a currency.
        "totals": NotRequired[list[Amount]],
    },
)

# SessionLeg is a leg as its session shows it. Fields mean what they mean on Leg.
SessionLeg = TypedDict(
    "SessionLeg",
    {
        # call_leg_id is Telnyx's call_leg_id. Always.
        "call_leg_id": str,
        # call_control_id is Telnyx's call_control_id, the leg's handle in its API.
        "call_control_id": NotRequired[str],
        # connection_id is Telnyx's connection_id, decimal text.
        "connection_id": NotRequired[str],
        # direction is "incoming" or "outgoing"; only call.initiated states it.
        "direction": NotRequired[str],
        # from and to are the parties in Telnyx's own words, unchanged.
        "from": NotRequired[str],
        # from and to are the parties in Telnyx's own words, unchanged.
        "to": NotRequired[str],
        # outcome is what became of the leg. Always.
        "outcome": Outcome,
        # answered_by is who answered, by the last answering-machine detection. A beep makes silence, not_sure or no
        # result at all a machine. After a call screening it is unknown until there is another result.
        "answered_by": NotRequired[AnsweredBy],
        # started_at is when the leg began to ring.
        "started_at": NotRequired[Time],
        # answered_at is when call.answered occurred.
        "answered_at": NotRequired[Time],
        # ended_at is when the leg ended.
        "ended_at": NotRequired[Time],
        # duration_seconds is ended_at less started_at. Like all seconds of a leg it lies from 0 to 86,400; what
        # would not is left out.
        "duration_seconds": NotRequired[Seconds],
        # talk_seconds is answer to end, hold and queue included; 0 when the leg is known to be never answered.
        "talk_seconds": NotRequired[Seconds],
        # ended_by is how Legato knows that the leg is over. Always.
        "ended_by": EndedBy,
        # status_state is the state of the leg's status. Always.
        "status_state": StatusState,
        # revision is that of the leg's summary when this one was made. Always.
        "revision": int,
    },
)

# Session is the summary of one call: all legs that share a call_session_id. "Always" marks the fields that are
# present in every message.
Session = TypedDict(
    "Session",
    {
        # kind is "session". Always.
        "kind": Literal["session"],
        # schema is the version of this shape. Always.
        "schema": Literal[1],
        # revision counts the publications of this session, from 1. Always.
        "revision": int,
        # changed and reasons are as on a leg. Absent on revision 1.
        "changed": NotRequired[list[str]],
        # changed and reasons are as on a leg. Absent on revision 1.
        "reasons": NotRequired[list[Reason]],
        # call_session_id is Telnyx's call_session_id. Always.
        "call_session_id": str,
        # connection_id is that of the first leg.
        "connection_id": NotRequired[str],
        # direction, from and to are those of the first leg by start.
        "direction": NotRequired[str],
        # direction, from and to are those of the first leg by start.
        "from": NotRequired[str],
        # direction, from and to are those of the first leg by start.
        "to": NotRequired[str],
        # outcome is that of the first leg; in a session of outgoing legs only, answered when any of them was. What
        # became of the parties that were called beyond it says far_outcome. Always.
        "outcome": Outcome,
        # far_outcome is the best outcome among the legs beyond the first, the best first: answered, busy,
        # no_answer, rejected, canceled, failed, unknown. With outcome it tells "the agent answered, the customer
        # was busy". Absent with one leg.
        "far_outcome": NotRequired[Outcome],
        # far_leg is the call_leg_id of the leg that far_outcome is of: of several the one that final_to is of, else
        # the first by start.
        "far_leg": NotRequired[str],
        # final_to is the party that the call ended up with: to of the last leg that was bridged to the first;
        # without any bridge to it, of the leg that was answered last. Absent when that is to.
        "final_to": NotRequired[str],
        # first_received_at is when the log took the first event of this session. Always.
        "first_received_at": Time,
        # published_at is when this revision was made. Always.
        "published_at": Time,
        # started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
        "started_at": NotRequired[Time],
        # started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
        "answered_at": NotRequired[Time],
        # started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
        "ended_at": NotRequired[Time],
        # duration_seconds is ended_at less started_at, from 0 to 604,800.
        "duration_seconds": NotRequired[Seconds],
        # talk_seconds is the time in which at least one leg was answered; 0 when all are known to be never
        # answered.
        "talk_seconds": NotRequired[Seconds],
        # leg_count counts the legs, answered_legs those that were answered. Always.
        "leg_count": int,
        # leg_count counts the legs, answered_legs those that were answered. Always.
        "answered_legs": int,
        # hangup is the one that ended the session's last conversation: of the legs that were bridged last, else of
        # the one that was answered last, that of the first to end; without a conversation, that of the first leg.
        "hangup": NotRequired[SessionHangup],
        # bridges tell which legs were joined, by time.
        "bridges": NotRequired[list[Bridge]],
        # status_state is the worst of its legs'. Always.
        "status_state": StatusState,
        # cost adds up the legs' costs.
        "cost": NotRequired[SessionCost],
        # legs are the legs by start, in a compact form; whole legs are on their own subjects. Always.
        "legs": list[SessionLeg],
        # legs_omitted counts the legs left out of legs because the message would be too large.
        "legs_omitted": NotRequired[int],
        # event_count counts the events that name the session and none of its legs. What they told stands in the
        # fields that follow; everything else that occurred is on the legs.
        "event_count": NotRequired[int],
        # events are these events, by time of occurrence: the first and last 250 when there are more.
        "events": NotRequired[list[Event]],
        # events_omitted counts the events left out of the middle of events.
        "events_omitted": NotRequired[int],
        # conferences are the conferences that the session created, with what Telnyx stated of them as a whole, by
        # time.
        "conferences": NotRequired[list[Conference]],
        # recordings are the recordings that Telnyx announced without a leg, by start.
        "recordings": NotRequired[list[Recording]],
        # playbacks and speaks are the playings of audio and the spoken texts to a whole conference that ended, by
        # time.
        "playbacks": NotRequired[list[Playback]],
        # playbacks and speaks are the playings of audio and the spoken texts to a whole conference that ended, by
        # time.
        "speaks": NotRequired[list[Speak]],
        # unread_fields are the names of the fields of which one of these events stated something that could not be
        # read, as on a leg. Absent: all was read.
        "unread_fields": NotRequired[list[str]],
        # omitted counts what was left out of these lists and of bridges, by its field. Absent: nothing was.
        "omitted": NotRequired[dict[str, int]],
    },
)

# Summary is what a message on calls.leg.> and calls.session.> holds.
Summary = Leg | Session


def key(summary: Summary) -> tuple[str, str]:
    """What a summary is stored under: of two with one key the higher revision stands."""
    if summary["kind"] == "leg":
        return "leg", summary["call_leg_id"]
    return "session", summary["call_session_id"]


def parse(body: bytes | str, newest: dict[tuple[str, str], Summary]) -> Summary | None:
    """Reads a message and keeps it in newest, unless a revision stands there that is as high.

    Returns the summary if it was kept. Raises ValueError for what is no summary of schema 1.
    """
    summary = json.loads(body)
    if not isinstance(summary, dict) or summary.get("kind") not in ("leg", "session") or summary.get("schema") != 1:
        raise ValueError("no summary of schema 1")
    held = newest.get(key(summary))
    if held is not None and held["revision"] >= summary["revision"]:
        return None
    newest[key(summary)] = summary
    return summary
