// The summaries of legs and sessions that Legato publishes,
// made from the JSON Schemas in enrich/summary/schema: go test ./docs/consumers -run Types -update
//
// An absent field is not known; null is never written. Fields and words may be added:
// pass over those that you do not know.

/**
 * Reason says why a revision was made.
 * late_event: a webhook came after the summary.
 * status_confirmed: the status was confirmed after the summary.
 * status_failed: asking ended without a confirmation, or its result changed.
 * recording: a recording was saved, of the leg or of its conference.
 * cost: the cost became known.
 * transcription: a recording was transcribed.
 * insights: insights of a conversation were generated.
 * leg_added: a leg joined the session after its summary.
 * leg_revised: a leg of the session was revised.
 * backfill: an event was filled in from the provider's history.
 */
export type Reason =
  | "late_event"
  | "status_confirmed"
  | "status_failed"
  | "recording"
  | "cost"
  | "transcription"
  | "insights"
  | "leg_added"
  | "leg_revised"
  | "backfill";

/**
 * STIRShaken is how far the caller's number is vouched for.
 */
export interface STIRShaken {
  /**
   * attestation is shaken_stir_attestation, else the one within call_screening_result: A (full), B (partial) or C
   * (gateway).
   */
  attestation?: string;
  /**
   * validated is shaken_stir_validated: whether the certificate was found good.
   */
  validated?: boolean;
}

/**
 * Header is one SIP header.
 */
export interface Header {
  /**
   * name is its name. Always.
   */
  name: string;
  /**
   * value is its value.
   */
  value?: string;
}

/**
 * Headers are the SIP headers that initiated, answered and hangup stated, each pair of name and value once, in the
 * order in which they were first stated; the first 32 of either list. SIPREC's X-metadata-xml is left out.
 */
export interface Headers {
  /**
   * custom are custom_headers.
   */
  custom?: Header[];
  /**
   * sip are sip_headers: User-to-User and Diversion.
   */
  sip?: Header[];
}

/**
 * Outcome is what became of a leg.
 * answered: somebody or something answered.
 * no_answer: it rang until the time was over.
 * busy: the called party was busy.
 * rejected: the called party or its network refused.
 * canceled: the calling party gave up before an answer.
 * failed: the call could not be put through.
 * unknown: nothing that was seen tells.
 */
export type Outcome =
  | "answered"
  | "no_answer"
  | "busy"
  | "rejected"
  | "canceled"
  | "failed"
  | "unknown";

/**
 * AnsweredBy is who answered a leg, by answering-machine detection.
 */
export type AnsweredBy =
  | "human"
  | "machine"
  | "fax"
  | "silence"
  | "unknown";

/**
 * Time is an instant in UTC, written as RFC 3339 with six fractional digits and Z.
 */
export type Time = string;

/**
 * Seconds is a duration in seconds, written as a number with one to three decimals.
 */
export type Seconds = number;

/**
 * Source is where a value comes from.
 * webhook: an event that Telnyx sent.
 * status: the status API.
 * backfill: an event filled in from the provider's history.
 */
export type Source =
  | "webhook"
  | "status"
  | "backfill";

/**
 * Party is who ended a leg, as seen from Telnyx's customer.
 */
export type Party =
  | "local"
  | "remote"
  | "unknown";

/**
 * Fault is an error that Telnyx reports, without its free text.
 */
export interface Fault {
  /**
   * code is error_code or code, title is title: the code in words.
   */
  code?: string;
  /**
   * code is error_code or code, title is title: the code in words.
   */
  title?: string;
}

/**
 * Hangup is what call.hangup said, in Telnyx's words, with one derived field.
 */
export interface Hangup {
  /**
   * cause is hangup_cause, an open vocabulary: normal_clearing, user_busy, timeout, ….
   */
  cause?: string;
  /**
   * source is hangup_source: caller, callee or unknown.
   */
  source?: string;
  /**
   * sip_code is sip_hangup_cause: a SIP status as text, or another word of Telnyx's.
   */
  sip_code?: string;
  /**
   * party is who ended the leg as seen from Telnyx's customer: local (our side), remote or unknown.
   */
  party?: Party;
  /**
   * fault is telnyx_error: what Telnyx itself blames.
   */
  fault?: Fault;
}

/**
 * EndedBy is how Legato knows that a leg is over.
 * hangup: its call.hangup was received.
 * status: the status API said so; the hangup was not received.
 * gone: the status API does not know the leg any more.
 * expired: longer than any leg can live, nothing was heard of it.
 */
export type EndedBy =
  | "hangup"
  | "status"
  | "gone"
  | "expired";

/**
 * StatusState is the result of asking the status API about a leg.
 * confirmed: Telnyx confirmed that the leg ended.
 * pending: not confirmed. With final it stays so: Telnyx's last answer still called the leg alive.
 * not_found: Telnyx does not know the leg (404 or 422).
 * denied: the API key was refused (401 or 403).
 * rate_limited: Telnyx asked for patience (429).
 * unreachable: no usable answer (network, timeout, 5xx, not JSON, another call's ids).
 * not_asked: nothing was asked: there is no control id to ask with, or, where there is one, no turn to ask came
 * before the window was over.
 */
export type StatusState =
  | "confirmed"
  | "pending"
  | "not_found"
  | "denied"
  | "rate_limited"
  | "unreachable"
  | "not_asked";

/**
 * Status is the answer of GET /v2/calls/{call_control_id}, or why there is none.
 */
export interface Status {
  /**
   * state is the result of asking: pending while it is not confirmed; with final it stays so. Always.
   */
  state: StatusState;
  /**
   * final tells that state cannot change any more; what an answer stated is absent before. Always.
   */
  final: boolean;
  /**
   * is_alive is the answer's is_alive.
   */
  is_alive?: boolean;
  /**
   * call_duration is the answer's call_duration in seconds, from 0 to 86,400; Telnyx does not state its basis.
   */
  call_duration?: Seconds;
  /**
   * start_time and end_time are the answer's.
   */
  start_time?: Time;
  /**
   * start_time and end_time are the answer's.
   */
  end_time?: Time;
  /**
   * client_state is the answer's, base64.
   */
  client_state?: string;
  /**
   * record_type is the answer's: "call".
   */
  record_type?: string;
  /**
   * fetched_at is when the answer that state stands on was received. Bookkeeping.
   */
  fetched_at?: Time;
  /**
   * attempts counts the requests that were made. Bookkeeping.
   */
  attempts?: number;
  /**
   * http_status is that of the last attempt; absent when there was no answer at all. Bookkeeping.
   */
  http_status?: number;
}

/**
 * Discrepancy is one field on which webhook and status differ by more than a second. Which of them stands, sources
 * says: a status that cannot be true of the call, or that may be the time of the answer, does not.
 */
export interface Discrepancy {
  /**
   * field is started_at or ended_at. Always.
   */
  field: string;
  /**
   * webhook and status are the two values. Always.
   */
  webhook: Time;
  /**
   * webhook and status are the two values. Always.
   */
  status: Time;
  /**
   * difference_seconds is the status's value less the webhook's. Always.
   */
  difference_seconds: Seconds;
}

/**
 * StreamQuality is the quality of one direction of the media.
 */
export interface StreamQuality {
  /**
   * mos is the mean opinion score, 1 to 5. Absent without packets, which it would say nothing about.
   */
  mos?: number;
  /**
   * jitter_max_variance is Telnyx's jitter_max_variance, of undocumented unit.
   */
  jitter_max_variance?: number;
  /**
   * jitter_packets, packets and skipped_packets are counts.
   */
  jitter_packets?: number;
  /**
   * jitter_packets, packets and skipped_packets are counts.
   */
  packets?: number;
  /**
   * jitter_packets, packets and skipped_packets are counts.
   */
  skipped_packets?: number;
}

/**
 * Quality is call_quality_stats of call.hangup with its numbers as numbers.
 */
export interface Quality {
  inbound?: StreamQuality;
  outbound?: StreamQuality;
}

/**
 * Recording is one call.recording.saved, or conference.recording.saved of a conference.
 */
export interface Recording {
  /**
   * id is recording_id; where Telnyx does not send it, the id of the event. Always.
   */
  id: string;
  /**
   * channels is single or dual; format is mp3 or wav.
   */
  channels?: string;
  /**
   * channels is single or dual; format is mp3 or wav.
   */
  format?: string;
  /**
   * started_at and ended_at bound the recording, not the call.
   */
  started_at?: Time;
  /**
   * started_at and ended_at bound the recording, not the call.
   */
  ended_at?: Time;
  /**
   * urls lead to the recording by format. Telnyx's own open without a password until urls_expire_at; those into the
   * customer's own storage (s3, gs, Azure) open with the customer's rights only, and do not expire.
   */
  urls?: Record<string, string>;
  /**
   * urls_expire_at is when the first of the urls stops working, as they say themselves (X-Amz-Date and
   * X-Amz-Expires). Absent where none says it.
   */
  urls_expire_at?: Time;
  /**
   * public_urls are those of a recording that was made public.
   */
  public_urls?: Record<string, string>;
}

/**
 * RecordingError is one call.recording.error.
 */
export interface RecordingError {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * reason is reason, a sentence.
   */
  reason?: string;
}

/**
 * Transcription is the text of a recording: one call.recording.transcription.saved.
 */
export interface Transcription {
  /**
   * id is recording_transcription_id; where Telnyx does not send it, the id of the event. Always.
   */
  id: string;
  /**
   * recording_id is recording_id: the id of one of the recordings.
   */
  recording_id?: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * status is status: completed.
   */
  status?: string;
  /**
   * text is transcription_text, its first 64 KiB at most.
   */
  text?: string;
  /**
   * text_omitted is how many bytes of the text are left out. Absent: none.
   */
  text_omitted?: number;
}

/**
 * Piece is something that was said at one go.
 */
export interface Piece {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * track is transcription_track: inbound or outbound.
   */
  track?: string;
  /**
   * text is transcript, its first 4 KiB at most.
   */
  text?: string;
  /**
   * confidence is confidence, from 0 to 1.
   */
  confidence?: number;
}

/**
 * Transcript is a live transcript: the final pieces of call.transcription, and what Dialogflow heard.
 */
export interface Transcript {
  /**
   * pieces are its first ones by time: at most 500 of them, with 64 KiB of text.
   */
  pieces?: Piece[];
  /**
   * text_omitted is how many bytes of text are left out, with or without their piece. Absent: none.
   */
  text_omitted?: number;
}

/**
 * Stream is one event of media that goes elsewhere.
 */
export interface Stream {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * kind is streaming, fork or siprec; state is started, stopped or failed. Always.
   */
  kind: string;
  /**
   * kind is streaming, fork or siprec; state is started, stopped or failed. Always.
   */
  state: string;
  /**
   * stream_id is stream_id.
   */
  stream_id?: string;
  /**
   * type is stream_type: websocket, dialogflow or decrypted.
   */
  type?: string;
  /**
   * track is stream_params.track: inbound_track, outbound_track or both_tracks.
   */
  track?: string;
  /**
   * reason is failure_reason, failure_cause, or hangup_cause of a SIPREC session that stopped.
   */
  reason?: string;
}

/**
 * MachineDetection is what answering-machine detection reported.
 */
export interface MachineDetection {
  /**
   * result is Telnyx's word of the detection: human, machine, not_sure, human_residence, ….
   */
  result?: string;
  /**
   * greeting is Telnyx's word of the greeting: beep_detected, ended, not_sure, no_beep_detected, or prompt_ended of
   * a prompt that ended without a beep where call screenings are looked for.
   */
  greeting?: string;
  /**
   * premium tells that premium detection was used.
   */
  premium?: boolean;
  /**
   * detected_at is when the detection occurred, greeting_at when the greeting did.
   */
  detected_at?: Time;
  /**
   * detected_at is when the detection occurred, greeting_at when the greeting did.
   */
  greeting_at?: Time;
  /**
   * screened_at is when Apple Call Screening was last detected: the phone answered itself to ask who calls. What
   * was detected before is void, and the detection starts again.
   */
  screened_at?: Time;
}

/**
 * Deepfake is what deepfake detection reported: the last result and the last error by occurrence.
 */
export interface Deepfake {
  /**
   * result is result: real, fake or silence_timeout.
   */
  result?: string;
  /**
   * score is score: how likely the voice is made, from 0 to 1.
   */
  score?: number;
  /**
   * consistency is consistency, in percent by Telnyx's example.
   */
  consistency?: number;
  /**
   * at is when the result occurred.
   */
  at?: Time;
  /**
   * error is error_message: detection_timeout, rtp_timeout, ….
   */
  error?: string;
  /**
   * error_at is when the error occurred.
   */
  error_at?: Time;
}

/**
 * Digit is one call.dtmf.received that states its key.
 */
export interface Digit {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * digit is digit: 0 to 9, *, #, A to D. Always.
   */
  digit: string;
}

/**
 * DTMF counts keys. Digits are secrets (PINs, cards): they are shown only where the deployment includes them.
 */
export interface DTMF {
  /**
   * count is how many call.dtmf.received there were. Always.
   */
  count: number;
  /**
   * digits are the keys that were pressed, by time: the first and the last 128 at most. Absent unless the
   * deployment includes them.
   */
  digits?: Digit[];
}

/**
 * Gather is one call.gather.ended. Its digits are shown only where the deployment includes them.
 */
export interface Gather {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it ended.
   */
  at?: Time;
  /**
   * status is status: valid, invalid, timeout, call_hangup, ….
   */
  status?: string;
  /**
   * digit_count is how many digits were entered; 0 where Telnyx states none. Always.
   */
  digit_count: number;
  /**
   * digits are the digits themselves, the first 128 at most. Absent unless the deployment includes them.
   */
  digits?: string;
}

/**
 * Playback is one playing of audio that ended: call.playback.ended and its siblings in conferences.
 */
export interface Playback {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it ended.
   */
  at?: Time;
  /**
   * media is media_name, or the file name in media_url.
   */
  media?: string;
  /**
   * status is status: completed, failed, file_not_found, cancelled, call_hangup, ….
   */
  status?: string;
  /**
   * status_detail is status_detail: why it failed. Of URLs in it only the host is shown.
   */
  status_detail?: string;
  /**
   * conference_id is conference_id. Absent: it was played to the leg.
   */
  conference_id?: string;
}

/**
 * Speak is one text that was spoken to its end: call.speak.ended and its siblings in conferences.
 */
export interface Speak {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it ended.
   */
  at?: Time;
  /**
   * status is status: completed, call_hangup, ….
   */
  status?: string;
  /**
   * conference_id is conference_id. Absent: it was spoken to the leg.
   */
  conference_id?: string;
}

/**
 * Payment is one step of taking a payment: call.payment.progress and call.payment.completed.
 */
export interface Payment {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * step is payment_step of a progress: payment-card-number, payment-processing, ….
   */
  step?: string;
  /**
   * status is payment_status of a progress, and of a completed payment its result: success,
   * payment-connector-error, ….
   */
  status?: string;
  /**
   * charge_id is charge_id of a payment that was charged.
   */
  charge_id?: string;
  /**
   * confirmation_code is payment_confirmation_code.
   */
  confirmation_code?: string;
  /**
   * connector_error is connector_error, where it is a code, or the code in it.
   */
  connector_error?: string;
  /**
   * error_code is the code that Telnyx or the payment's connector gave. Absent: no error.
   */
  error_code?: string;
}

/**
 * QueueVisit is one stay in a queue: a call.enqueued and the next call.dequeued of the same queue.
 */
export interface QueueVisit {
  /**
   * id is that of the call.enqueued, else of the call.dequeued. Always.
   */
  id: string;
  /**
   * name is the queue's.
   */
  name?: string;
  /**
   * entered_at and left_at are when the two occurred. Absent: it was not received.
   */
  entered_at?: Time;
  /**
   * entered_at and left_at are when the two occurred. Absent: it was not received.
   */
  left_at?: Time;
  /**
   * entered_position is current_position of the call.enqueued, left_position queue_position of the call.dequeued.
   */
  entered_position?: number;
  /**
   * entered_position is current_position of the call.enqueued, left_position queue_position of the call.dequeued.
   */
  left_position?: number;
  /**
   * average_wait_seconds is queue_avg_wait_time_secs of the call.enqueued: what the queue's others waited by then.
   */
  average_wait_seconds?: Seconds;
  /**
   * wait_seconds is wait_time_secs of the call.dequeued.
   */
  wait_seconds?: Seconds;
  /**
   * reason is why the leg left: bridged, hangup, timeout, ….
   */
  reason?: string;
}

/**
 * Conference is one conference that the leg took part in, or that the session created.
 */
export interface Conference {
  /**
   * id is conference_id. Always.
   */
  id: string;
  /**
   * joined_at is when the leg first joined, left_at when it last left.
   */
  joined_at?: Time;
  /**
   * joined_at is when the leg first joined, left_at when it last left.
   */
  left_at?: Time;
  /**
   * created_at and ended_at bound the conference, where Telnyx told this leg or session.
   */
  created_at?: Time;
  /**
   * created_at and ended_at bound the conference, where Telnyx told this leg or session.
   */
  ended_at?: Time;
  /**
   * reason is why the conference ended: all_left, host_left or time_exceeded.
   */
  reason?: string;
  /**
   * recordings are those of the conference that Telnyx told this leg or session of, by start: others speak on them
   * as well.
   */
  recordings?: Recording[];
}

/**
 * Refer is one step of handing the leg over by SIP REFER.
 */
export interface Refer {
  /**
   * id is the event's. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * state is started, completed or failed. Always.
   */
  state: string;
  /**
   * sip_code is sip_notify_response: the SIP status that the other party notified, as text.
   */
  sip_code?: string;
}

/**
 * Conversation is one conversation with an AI assistant: call.conversation.created, .ended and .start_failed.
 */
export interface Conversation {
  /**
   * id is conversation_id; where Telnyx does not send it, the id of the event. Always.
   */
  id: string;
  /**
   * assistant_id is assistant_id.
   */
  assistant_id?: string;
  /**
   * started_at, ended_at and failed_at are when the three events occurred.
   */
  started_at?: Time;
  /**
   * started_at, ended_at and failed_at are when the three events occurred.
   */
  ended_at?: Time;
  /**
   * started_at, ended_at and failed_at are when the three events occurred.
   */
  failed_at?: Time;
  /**
   * duration_seconds is duration_sec.
   */
  duration_seconds?: Seconds;
  /**
   * reason is why it ended, or why it could not start: invalid_request or service_error.
   */
  reason?: string;
  /**
   * llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
   */
  llm_model?: string;
  /**
   * llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
   */
  stt_model?: string;
  /**
   * llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
   */
  tts_model?: string;
  /**
   * llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
   */
  tts_provider?: string;
  /**
   * llm_model, stt_model, tts_model, tts_provider and tts_voice are what the assistant ran on.
   */
  tts_voice?: string;
}

/**
 * Message is what one side said in an AI gather.
 */
export interface Message {
  /**
   * role is assistant or user.
   */
  role?: string;
  /**
   * content is what was said, its first 2 KiB.
   */
  content?: string;
}

/**
 * AIGather is what one call.ai_gather asked for. What it came to is a secret as digits are, and is not shown.
 */
export interface AIGather {
  /**
   * id is that of the call.ai_gather.ended; of a gather whose end was not received that of its first event. Always.
   */
  id: string;
  /**
   * at is when the last of its events occurred.
   */
  at?: Time;
  /**
   * status is status: valid, timeout, …. Absent: its end was not received.
   */
  status?: string;
  /**
   * message_count is how many messages were exchanged. Always.
   */
  message_count: number;
  /**
   * messages are the last of them, in order: at most 64, with 16 KiB of text.
   */
  messages?: Message[];
}

/**
 * Insight is one result of a call.conversation_insights.generated.
 */
export interface Insight {
  /**
   * id is the event's, the same of all its results. Always.
   */
  id: string;
  /**
   * at is when it occurred.
   */
  at?: Time;
  /**
   * group_id is insight_group_id, insight_id is insight_id.
   */
  group_id?: string;
  /**
   * group_id is insight_group_id, insight_id is insight_id.
   */
  insight_id?: string;
  /**
   * text is the result where it is text. json is it as json text where it is anything else: its form is the
   * insight's own.
   */
  text?: string;
  /**
   * text is the result where it is text. json is it as json text where it is anything else: its form is the
   * insight's own.
   */
  json?: string;
}

/**
 * AI is what AI assistants did on a leg.
 */
export interface AI {
  /**
   * conversations are those with an assistant, by time.
   */
  conversations?: Conversation[];
  /**
   * gathers are what an assistant asked for, by time.
   */
  gathers?: AIGather[];
  /**
   * insights are answers to questions asked about the conversation, by time.
   */
  insights?: Insight[];
}

/**
 * CostPart is one charge.
 */
export interface CostPart {
  /**
   * part is call_part: sip-trunking, call-control, ….
   */
  part?: string;
  /**
   * amount and rate are decimal text in currency.
   */
  amount?: string;
  /**
   * amount and rate are decimal text in currency.
   */
  currency?: string;
  /**
   * amount and rate are decimal text in currency.
   */
  rate?: string;
  /**
   * billed_seconds is what was billed for.
   */
  billed_seconds?: number;
}

/**
 * Amount is money: decimal text in one currency.
 */
export interface Amount {
  /**
   * currency is ISO 4217; absent when Telnyx named none.
   */
  currency?: string;
  /**
   * amount is decimal text. Always.
   */
  amount: string;
}

/**
 * Cost is what call.cost said about a leg. Amounts are decimal text. Of several call.cost, which is no delivery
 * twice, parts of other names add up; of a part that is stated again the later amount stands.
 */
export interface Cost {
  /**
   * status is success or error.
   */
  status?: string;
  /**
   * billed_seconds is billed_duration_secs.
   */
  billed_seconds?: number;
  /**
   * parts are the charges.
   */
  parts?: CostPart[];
  /**
   * total_cost is total_cost as it was stated, in the parts' currency.
   */
  total_cost?: string;
  /**
   * totals are the amounts of the parts added up, one a currency. Where total_cost is another amount, or parts
   * state none, total_cost stands here; with parts in several currencies their sums do.
   */
  totals?: Amount[];
}

/**
 * Note is a word about what is doubtful in a summary.
 * initiated_missing: call.initiated was not received; direction, and on outgoing legs the start, may be unknown.
 * answered_missing: the leg was answered, by its bridge or its hangup, but call.answered was not received: ring and
 * talk time are unknown.
 * answered_without_initiated: call.answered was received and call.initiated was not: the talk time is known, whose
 * call it was may not be.
 * hangup_missing: call.hangup was not received; ended_by says how the end is known.
 * redelivered: an event was received with its second or a later delivery only: the ones before it failed, so others
 * may have been lost. Deliveries that come after the one that was taken are not noted. Like clock_skew it depends
 * on what was received when.
 * clock_skew: an event occurred more than a minute after it was received: Telnyx's clock and the log's differ. An
 * event that was received long after it occurred may just be late, and is not noted.
 * negative_duration: an end lies before its beginning; the seconds between are left out.
 * mos_without_packets: Telnyx stated a mean opinion score of a stream without packets; it is left out.
 * details_cut: something in an event was longer than it may be, and was cut or left out when it was read. The whole
 * is in the log.
 * field_unread: an event stated something that could not be read: unread_fields says in which fields.
 * cost_total_differs: the stated total_cost is not the sum of the parts; it counts in their place.
 * cost_added: several call.cost of other parts each: they are added up.
 * cost_corrected: a call.cost stated a part of an earlier one with another amount: it took its place.
 * discrepancy: webhook and status differ: discrepancies says where. Or the status states a time that no webhook
 * does and that cannot be true: then status alone shows it.
 */
export type Note =
  | "initiated_missing"
  | "answered_missing"
  | "answered_without_initiated"
  | "hangup_missing"
  | "redelivered"
  | "clock_skew"
  | "negative_duration"
  | "mos_without_packets"
  | "details_cut"
  | "field_unread"
  | "cost_total_differs"
  | "cost_added"
  | "cost_corrected"
  | "discrepancy";

/**
 * Part is something that the summary of a leg is made of.
 * initiated: a call.initiated.
 * answered: a call.answered.
 * hangup: a call.hangup.
 * status: a confirmation by the status API.
 * recording: at least one recording of the leg.
 * cost: a call.cost, whatever its status.
 */
export type Part =
  | "initiated"
  | "answered"
  | "hangup"
  | "status"
  | "recording"
  | "cost";

/**
 * Completeness tells what is in, and what is not though it should be.
 */
export interface Completeness {
  /**
   * received are the parts that are in.
   */
  received?: Part[];
  /**
   * expected are those that are to come by what is known, though some may be lost: initiated and hangup of every
   * leg, answered of one that was, status until it is final, recording when a transcription tells of it. Nothing
   * tells whether a cost will come.
   */
  expected?: Part[];
}

/**
 * Event is one line of the timeline.
 */
export interface Event {
  /**
   * id and type are the identity of the event. Always.
   */
  id: string;
  /**
   * id and type are the identity of the event. Always.
   */
  type: string;
  /**
   * occurred_at is by Telnyx's clock.
   */
  occurred_at?: Time;
  /**
   * received_at is by the log's clock. Always.
   */
  received_at: Time;
  /**
   * attempt is Telnyx's delivery attempt, from 1.
   */
  attempt?: number;
  /**
   * backfill marks an event that was filled in from the provider's history.
   */
  backfill?: boolean;
  /**
   * approximate tells of such an event that the history did not say when it occurred: occurred_at is when a
   * delivery of it was noted.
   */
  approximate?: boolean;
}

/**
 * Times are Legato's own milestones of a leg.
 */
export interface Times {
  /**
   * hangup_received_at is when the log took the hangup.
   */
  hangup_received_at?: Time;
  /**
   * enriched_at is when the status was confirmed.
   */
  enriched_at?: Time;
}

/**
 * Leg is the summary of one leg of a call. "Always" marks the fields that are present in every message; any other
 * is absent when it is not known.
 */
export interface Leg {
  /**
   * kind is "leg". Always.
   */
  kind: "leg";
  /**
   * schema is the version of this shape. Always.
   */
  schema: 1;
  /**
   * revision counts the publications of this leg, from 1. Always.
   */
  revision: number;
  /**
   * changed are JSON Pointers to what differs from the previous revision, arrays as a whole, bookkeeping left out.
   * Absent on revision 1.
   */
  changed?: string[];
  /**
   * reasons say why this revision was made. Absent on revision 1.
   */
  reasons?: Reason[];
  /**
   * call_session_id is Telnyx's call_session_id. Always.
   */
  call_session_id: string;
  /**
   * call_leg_id is Telnyx's call_leg_id. Always.
   */
  call_leg_id: string;
  /**
   * call_control_id is Telnyx's call_control_id, the leg's handle in its API.
   */
  call_control_id?: string;
  /**
   * connection_id is Telnyx's connection_id, decimal text.
   */
  connection_id?: string;
  /**
   * direction is "incoming" or "outgoing"; only call.initiated states it.
   */
  direction?: string;
  /**
   * from and to are the parties in Telnyx's own words, unchanged.
   */
  from?: string;
  /**
   * from and to are the parties in Telnyx's own words, unchanged.
   */
  to?: string;
  /**
   * from_sip_uri and to_sip_uri are the parties as SIP had them, mostly without a scheme.
   */
  from_sip_uri?: string;
  /**
   * from_sip_uri and to_sip_uri are the parties as SIP had them, mostly without a scheme.
   */
  to_sip_uri?: string;
  /**
   * caller_name is caller_id_name of call.initiated.
   */
  caller_name?: string;
  /**
   * calling_party_type is calling_party_type, of the first event that states it: pstn or sip.
   */
  calling_party_type?: string;
  /**
   * stir_shaken is how far the caller's number is vouched for, from call.initiated.
   */
  stir_shaken?: STIRShaken;
  /**
   * screening is call_screening_result of call.initiated, or its action where it is an object: spam_likely, ….
   */
  screening?: string;
  /**
   * codec is the codec agreed on, from call.answered: PCMU, ….
   */
  codec?: string;
  /**
   * sampling_rate is its sampling rate in Hz, from call.answered.
   */
  sampling_rate?: number;
  /**
   * offered_codecs is offered_codecs of call.initiated, in the far end's order: PCMU,G729.
   */
  offered_codecs?: string;
  /**
   * headers are the SIP headers of the leg.
   */
  headers?: Headers;
  /**
   * outcome is what became of the leg. Always.
   */
  outcome: Outcome;
  /**
   * answered_by is who answered, by the last answering-machine detection. A beep makes silence, not_sure or no
   * result at all a machine. After a call screening it is unknown until there is another result.
   */
  answered_by?: AnsweredBy;
  /**
   * first_received_at is when the log took the first event of this leg. Always.
   */
  first_received_at: Time;
  /**
   * published_at is when this revision was made. Always.
   */
  published_at: Time;
  /**
   * started_at is when the leg began to ring.
   */
  started_at?: Time;
  /**
   * answered_at is when call.answered occurred.
   */
  answered_at?: Time;
  /**
   * bridged_at is when the leg was first bridged to another.
   */
  bridged_at?: Time;
  /**
   * ended_at is when the leg ended.
   */
  ended_at?: Time;
  /**
   * duration_seconds is ended_at less started_at. Like all seconds of a leg it lies from 0 to 86,400; what would
   * not is left out.
   */
  duration_seconds?: Seconds;
  /**
   * ring_seconds is start to answer, or to the end when the leg is known to be never answered.
   */
  ring_seconds?: Seconds;
  /**
   * talk_seconds is answer to end, hold and queue included; 0 when the leg is known to be never answered.
   */
  talk_seconds?: Seconds;
  /**
   * bridged_seconds is the first bridge to the end.
   */
  bridged_seconds?: Seconds;
  /**
   * hold_seconds is the time between call.hold and call.unhold (or the end), added up.
   */
  hold_seconds?: Seconds;
  /**
   * queue_seconds is wait_time_secs of the call.dequeued events, added up.
   */
  queue_seconds?: Seconds;
  /**
   * sources tell where started_at, answered_at, bridged_at and ended_at come from.
   */
  sources?: Record<string, Source>;
  /**
   * hangup is what call.hangup said. Absent when no hangup was seen.
   */
  hangup?: Hangup;
  /**
   * ended_by is how Legato knows that the leg is over. Always.
   */
  ended_by: EndedBy;
  /**
   * status is what the status API said. Always.
   */
  status: Status;
  /**
   * discrepancies are the fields on which webhook and status differ by more than a second.
   */
  discrepancies?: Discrepancy[];
  /**
   * quality is the media quality of the leg, from call.hangup.
   */
  quality?: Quality;
  /**
   * recordings are the saved recordings of the leg, by start. Those of a conference stand in conferences.
   */
  recordings?: Recording[];
  /**
   * recording_errors are the recordings that failed, by time.
   */
  recording_errors?: RecordingError[];
  /**
   * transcriptions are the texts of recordings, by time.
   */
  transcriptions?: Transcription[];
  /**
   * transcript is what was said, as it was transcribed live.
   */
  transcript?: Transcript;
  /**
   * streams tell when media went elsewhere, by time.
   */
  streams?: Stream[];
  /**
   * machine_detection is what answering-machine detection reported.
   */
  machine_detection?: MachineDetection;
  /**
   * deepfake is what deepfake detection reported.
   */
  deepfake?: Deepfake;
  /**
   * dtmf counts the keys that were pressed. Absent: none was reported.
   */
  dtmf?: DTMF;
  /**
   * gathers are the entries that the application asked for, by time.
   */
  gathers?: Gather[];
  /**
   * playbacks and speaks are the playings of audio and the spoken texts that ended, by time.
   */
  playbacks?: Playback[];
  /**
   * playbacks and speaks are the playings of audio and the spoken texts that ended, by time.
   */
  speaks?: Speak[];
  /**
   * payments are the steps of taking payment, by time. Of card and payer nothing is shown.
   */
  payments?: Payment[];
  /**
   * queues are the queues that the leg waited in, by time.
   */
  queues?: QueueVisit[];
  /**
   * conferences are the conferences that the leg took part in, by time.
   */
  conferences?: Conference[];
  /**
   * refers are the steps of handing the leg over by SIP REFER, by time.
   */
  refers?: Refer[];
  /**
   * ai is what artificial assistants did on the leg.
   */
  ai?: AI;
  /**
   * cost is what call.cost said.
   */
  cost?: Cost;
  /**
   * client_state is the last one that the application attached, base64.
   */
  client_state?: string;
  /**
   * client_state_text is client_state decoded, where that gives at most 4 KiB of printable text in UTF-8.
   */
  client_state_text?: string;
  /**
   * tags are the application's tags.
   */
  tags?: string[];
  /**
   * notes are what is doubtful about this summary. Absent: nothing is.
   */
  notes?: Note[];
  /**
   * unread_fields are the names of the fields of which an event stated something that could not be read, because it
   * was of a type or form that Legato does not know: call_quality_stats, cost_parts.cost, …. What was stated is
   * in the log. Absent: all was read.
   */
  unread_fields?: string[];
  /**
   * completeness tells what is in and what is still to come.
   */
  completeness?: Completeness;
  /**
   * omitted counts what was left out of a list, by its field ("playbacks", "ai.insights"): a summary has bounds. Of
   * most lists the first and the last entries are kept; texts that were cut say so themselves. Absent: nothing was.
   */
  omitted?: Record<string, number>;
  /**
   * events is the timeline: every event once, by time of occurrence; its first and last 250 when there are more.
   * Always.
   */
  events: Event[];
  /**
   * events_omitted counts the events left out of the middle of events.
   */
  events_omitted?: number;
  /**
   * times are Legato's own milestones.
   */
  times?: Times;
}

/**
 * SessionHangup is the hangup that ended the last conversation of a call.
 */
export interface SessionHangup {
  /**
   * call_leg_id is the leg that was hung up. Always.
   */
  call_leg_id: string;
  /**
   * cause is hangup_cause, an open vocabulary: normal_clearing, user_busy, timeout, ….
   */
  cause?: string;
  /**
   * source is hangup_source: caller, callee or unknown.
   */
  source?: string;
  /**
   * sip_code is sip_hangup_cause: a SIP status as text, or another word of Telnyx's.
   */
  sip_code?: string;
  /**
   * party is who ended the leg as seen from Telnyx's customer: local (our side), remote or unknown.
   */
  party?: Party;
  /**
   * fault is telnyx_error: what Telnyx itself blames.
   */
  fault?: Fault;
}

/**
 * Bridge is one joining of legs.
 */
export interface Bridge {
  /**
   * at is when it occurred. Always.
   */
  at: Time;
  /**
   * legs are the call_leg_ids of this session that were joined; a single one was joined to a leg of another
   * session. Always.
   */
  legs: string[];
}

/**
 * SessionCost adds up the costs of a session's legs.
 */
export interface SessionCost {
  /**
   * legs_costed counts the legs whose cost is known, legs_total all. Always.
   */
  legs_costed: number;
  /**
   * legs_costed counts the legs whose cost is known, legs_total all. Always.
   */
  legs_total: number;
  /**
   * totals are the amounts added up, one a currency.
   */
  totals?: Amount[];
}

/**
 * SessionLeg is a leg as its session shows it. Fields mean what they mean on Leg.
 */
export interface SessionLeg {
  /**
   * call_leg_id is Telnyx's call_leg_id. Always.
   */
  call_leg_id: string;
  /**
   * call_control_id is Telnyx's call_control_id, the leg's handle in its API.
   */
  call_control_id?: string;
  /**
   * connection_id is Telnyx's connection_id, decimal text.
   */
  connection_id?: string;
  /**
   * direction is "incoming" or "outgoing"; only call.initiated states it.
   */
  direction?: string;
  /**
   * from and to are the parties in Telnyx's own words, unchanged.
   */
  from?: string;
  /**
   * from and to are the parties in Telnyx's own words, unchanged.
   */
  to?: string;
  /**
   * outcome is what became of the leg. Always.
   */
  outcome: Outcome;
  /**
   * answered_by is who answered, by the last answering-machine detection. A beep makes silence, not_sure or no
   * result at all a machine. After a call screening it is unknown until there is another result.
   */
  answered_by?: AnsweredBy;
  /**
   * started_at is when the leg began to ring.
   */
  started_at?: Time;
  /**
   * answered_at is when call.answered occurred.
   */
  answered_at?: Time;
  /**
   * ended_at is when the leg ended.
   */
  ended_at?: Time;
  /**
   * duration_seconds is ended_at less started_at. Like all seconds of a leg it lies from 0 to 86,400; what would
   * not is left out.
   */
  duration_seconds?: Seconds;
  /**
   * talk_seconds is answer to end, hold and queue included; 0 when the leg is known to be never answered.
   */
  talk_seconds?: Seconds;
  /**
   * ended_by is how Legato knows that the leg is over. Always.
   */
  ended_by: EndedBy;
  /**
   * status_state is the state of the leg's status. Always.
   */
  status_state: StatusState;
  /**
   * revision is that of the leg's summary when this one was made. Always.
   */
  revision: number;
}

/**
 * Session is the summary of one call: all legs that share a call_session_id. "Always" marks the fields that are
 * present in every message.
 */
export interface Session {
  /**
   * kind is "session". Always.
   */
  kind: "session";
  /**
   * schema is the version of this shape. Always.
   */
  schema: 1;
  /**
   * revision counts the publications of this session, from 1. Always.
   */
  revision: number;
  /**
   * changed and reasons are as on a leg. Absent on revision 1.
   */
  changed?: string[];
  /**
   * changed and reasons are as on a leg. Absent on revision 1.
   */
  reasons?: Reason[];
  /**
   * call_session_id is Telnyx's call_session_id. Always.
   */
  call_session_id: string;
  /**
   * connection_id is that of the first leg.
   */
  connection_id?: string;
  /**
   * direction, from and to are those of the first leg by start.
   */
  direction?: string;
  /**
   * direction, from and to are those of the first leg by start.
   */
  from?: string;
  /**
   * direction, from and to are those of the first leg by start.
   */
  to?: string;
  /**
   * outcome is that of the first leg; in a session of outgoing legs only, answered when any of them was. What
   * became of the parties that were called beyond it says far_outcome. Always.
   */
  outcome: Outcome;
  /**
   * far_outcome is the best outcome among the legs beyond the first, the best first: answered, busy, no_answer,
   * rejected, canceled, failed, unknown. With outcome it tells "the agent answered, the customer was busy". Absent
   * with one leg.
   */
  far_outcome?: Outcome;
  /**
   * far_leg is the call_leg_id of the leg that far_outcome is of: of several the one that final_to is of, else the
   * first by start.
   */
  far_leg?: string;
  /**
   * final_to is the party that the call ended up with: to of the last leg that was bridged to the first; without
   * any bridge to it, of the leg that was answered last. Absent when that is to.
   */
  final_to?: string;
  /**
   * first_received_at is when the log took the first event of this session. Always.
   */
  first_received_at: Time;
  /**
   * published_at is when this revision was made. Always.
   */
  published_at: Time;
  /**
   * started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
   */
  started_at?: Time;
  /**
   * started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
   */
  answered_at?: Time;
  /**
   * started_at, answered_at and ended_at are the first start, the first answer and the last end of its legs.
   */
  ended_at?: Time;
  /**
   * duration_seconds is ended_at less started_at, from 0 to 604,800.
   */
  duration_seconds?: Seconds;
  /**
   * talk_seconds is the time in which at least one leg was answered; 0 when all are known to be never answered.
   */
  talk_seconds?: Seconds;
  /**
   * leg_count counts the legs, answered_legs those that were answered. Always.
   */
  leg_count: number;
  /**
   * leg_count counts the legs, answered_legs those that were answered. Always.
   */
  answered_legs: number;
  /**
   * hangup is the one that ended the session's last conversation: of the legs that were bridged last, else of the
   * one that was answered last, that of the first to end; without a conversation, that of the first leg.
   */
  hangup?: SessionHangup;
  /**
   * bridges tell which legs were joined, by time.
   */
  bridges?: Bridge[];
  /**
   * status_state is the worst of its legs'. Always.
   */
  status_state: StatusState;
  /**
   * cost adds up the legs' costs.
   */
  cost?: SessionCost;
  /**
   * legs are the legs by start, in a compact form; whole legs are on their own subjects. Always.
   */
  legs: SessionLeg[];
  /**
   * legs_omitted counts the legs left out of legs because the message would be too large.
   */
  legs_omitted?: number;
  /**
   * event_count counts the events that name the session and none of its legs. What they told stands in the fields
   * that follow; everything else that occurred is on the legs.
   */
  event_count?: number;
  /**
   * events are these events, by time of occurrence: the first and last 250 when there are more.
   */
  events?: Event[];
  /**
   * events_omitted counts the events left out of the middle of events.
   */
  events_omitted?: number;
  /**
   * conferences are the conferences that the session created, with what Telnyx stated of them as a whole, by time.
   */
  conferences?: Conference[];
  /**
   * recordings are the recordings that Telnyx announced without a leg, by start.
   */
  recordings?: Recording[];
  /**
   * playbacks and speaks are the playings of audio and the spoken texts to a whole conference that ended, by time.
   */
  playbacks?: Playback[];
  /**
   * playbacks and speaks are the playings of audio and the spoken texts to a whole conference that ended, by time.
   */
  speaks?: Speak[];
  /**
   * unread_fields are the names of the fields of which one of these events stated something that could not be read,
   * as on a leg. Absent: all was read.
   */
  unread_fields?: string[];
  /**
   * omitted counts what was left out of these lists and of bridges, by its field. Absent: nothing was.
   */
  omitted?: Record<string, number>;
}

/** Summary is what a message on calls.leg.> and calls.session.> holds. */
export type Summary = Leg | Session;

/** key is what a summary is stored under: of two with one key the higher revision stands. */
export const key = (s: Summary): string => (s.kind === "leg" ? "leg/" + s.call_leg_id : "session/" + s.call_session_id);
