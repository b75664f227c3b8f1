-- Reports on the views that `legato load clickhouse://…` keeps. Days and hours are UTC, of the start of a leg; a leg without
-- one counts when its first event was received.

-- report: traffic
-- By connection and day: legs, how many were answered (ASR), how long these lasted on average (ACD), and minutes.
SELECT connection_id, toDate(ifNull(started_at, first_received_at), 'UTC') AS day, count() AS legs,
  countIf(outcome = 'answered') AS answered, round(countIf(outcome = 'answered') / count(), 4) AS asr,
  round(avgIf(talk_seconds, outcome = 'answered'), 3) AS acd_seconds, round(sum(talk_seconds) / 60, 2) AS minutes
FROM legato.legs GROUP BY connection_id, day ORDER BY day, connection_id;

-- report: cost
-- By connection, day and currency. A leg that has costs in several currencies is in cost_totals only.
SELECT connection_id, toDate(ifNull(started_at, first_received_at), 'UTC') AS day, cost_currency AS currency, count() AS legs, sum(cost_amount) AS cost
FROM legato.legs WHERE cost_amount IS NOT NULL GROUP BY connection_id, day, currency ORDER BY day, connection_id, currency;

-- report: busiest_hour
-- The hour of each day in which most legs started.
SELECT toDate(assumeNotNull(started_at), 'UTC') AS day, toHour(assumeNotNull(started_at), 'UTC') AS hour, count() AS legs
FROM legato.legs WHERE started_at IS NOT NULL GROUP BY day, hour ORDER BY day, legs DESC, hour LIMIT 1 BY day;

-- report: concurrency
-- The most legs of each day that were up at once. A leg that ends in the instant in which another starts is not counted with it.
WITH steps AS (
  SELECT assumeNotNull(started_at) AS at, 1 AS step FROM legato.legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
  UNION ALL
  SELECT assumeNotNull(ended_at) AS at, -1 AS step FROM legato.legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
), running AS (
  SELECT at, sum(step) OVER (ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS up FROM steps
)
SELECT toDate(at, 'UTC') AS day, max(up) AS legs FROM running GROUP BY day ORDER BY day;

-- report: short_calls
-- Answered legs of less than ten seconds, by connection and day, and their share.
SELECT connection_id, toDate(ifNull(started_at, first_received_at), 'UTC') AS day,
  countIf(talk_seconds < 10) AS short, round(countIf(talk_seconds < 10) / count(), 4) AS share
FROM legato.legs WHERE outcome = 'answered' GROUP BY connection_id, day ORDER BY day, connection_id;

-- report: hung_up
-- Who ended answered legs, seen from your side, by day.
SELECT toDate(ifNull(started_at, first_received_at), 'UTC') AS day, ifNull(hangup_party, 'unknown') AS party, count() AS legs
FROM legato.legs WHERE outcome = 'answered' GROUP BY day, party ORDER BY day, party;

-- report: doubts
-- What Legato doubted, by note: docs/messages.md explains each.
SELECT arrayJoin(notes) AS note, count() AS legs, round(count() / (SELECT count() FROM legato.legs), 4) AS share
FROM legato.legs GROUP BY note ORDER BY legs DESC, note;

-- report: delay
-- Seconds from the receipt of the hangup to the confirmed summary, by day.
SELECT toDate(assumeNotNull(times_hangup_received_at), 'UTC') AS day, count() AS legs,
  arraySort(groupArray(seconds))[toUInt64(ceil(0.5 * count()))] AS median_seconds,
  arraySort(groupArray(seconds))[toUInt64(ceil(0.95 * count()))] AS p95_seconds, max(seconds) AS max_seconds
FROM (
  SELECT times_hangup_received_at, dateDiff('microsecond', times_hangup_received_at, times_enriched_at) / 1e6 AS seconds
  FROM legato.legs WHERE times_enriched_at >= times_hangup_received_at
) GROUP BY day ORDER BY day;
