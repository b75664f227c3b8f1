-- Reports on the views `legs` and `sessions` that `legato load DIR/ --print-schema` makes, or on an export:
--
--     legato export --nested --output legs.parquet
--     CREATE VIEW legs AS SELECT * FROM 'legs.parquet';
--
-- Days and hours are UTC, of the start of a leg; a leg without one counts when its first event was received.

-- report: traffic
-- By connection and day: legs, how many were answered (ASR), how long these lasted on average (ACD), and minutes.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::DATE AS day, count(*) AS legs,
  count(*) FILTER (outcome = 'answered') AS answered,
  round(count(*) FILTER (outcome = 'answered') / count(*), 4) AS asr,
  round(avg(talk_seconds) FILTER (outcome = 'answered'), 3) AS acd_seconds,
  round(sum(talk_seconds) / 60, 2) AS minutes
FROM legs GROUP BY ALL ORDER BY day, connection_id;

-- report: cost
-- By connection, day and currency. A leg that has costs in several currencies is in cost_totals only.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::DATE AS day, cost_currency AS currency,
  count(*) AS legs, sum(cost_amount) AS cost
FROM legs WHERE cost_amount IS NOT NULL GROUP BY ALL ORDER BY day, connection_id, currency;

-- report: busiest_hour
-- The hour of each day in which most legs started.
SELECT day, hour, started AS legs
FROM (
  SELECT (started_at AT TIME ZONE 'UTC')::DATE AS day, hour(started_at AT TIME ZONE 'UTC') AS hour, count(*) AS started
  FROM legs WHERE started_at IS NOT NULL GROUP BY ALL
) QUALIFY row_number() OVER (PARTITION BY day ORDER BY started DESC, hour) = 1 ORDER BY day;

-- report: concurrency
-- The most legs of each day that were up at once. A leg that ends in the instant in which another starts is not counted with it.
WITH steps AS (
  SELECT started_at AS moment, 1 AS step FROM legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
  UNION ALL
  SELECT ended_at, -1 FROM legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
), running AS (
  SELECT moment, sum(step) OVER (ORDER BY moment, step ROWS UNBOUNDED PRECEDING) AS legs FROM steps
)
SELECT (moment AT TIME ZONE 'UTC')::DATE AS day, max(legs) AS legs FROM running GROUP BY ALL ORDER BY day;

-- report: short_calls
-- Answered legs of less than ten seconds, by connection and day, and their share.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::DATE AS day,
  count(*) FILTER (talk_seconds < 10) AS short,
  round(count(*) FILTER (talk_seconds < 10) / count(*), 4) AS share
FROM legs WHERE outcome = 'answered' GROUP BY ALL ORDER BY day, connection_id;

-- report: hung_up
-- Who ended answered legs, seen from your side, by day.
SELECT (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::DATE AS day, coalesce(hangup_party, 'unknown') AS party, count(*) AS legs
FROM legs WHERE outcome = 'answered' GROUP BY ALL ORDER BY day, party;

-- report: doubts
-- What Legato doubted, by note: docs/messages.md explains each.
SELECT note, count(*) AS legs, round(count(*) / (SELECT count(*) FROM legs), 4) AS share
FROM legs, unnest(notes) AS of(note) GROUP BY ALL ORDER BY 2 DESC, 1;

-- report: delay
-- Seconds from the receipt of the hangup to the confirmed summary, by day.
SELECT (times_hangup_received_at AT TIME ZONE 'UTC')::DATE AS day, count(*) AS legs,
  quantile_disc(seconds, 0.5) AS median_seconds, quantile_disc(seconds, 0.95) AS p95_seconds, max(seconds) AS max_seconds
FROM (
  SELECT times_hangup_received_at, epoch(times_enriched_at - times_hangup_received_at) AS seconds
  FROM legs WHERE times_enriched_at >= times_hangup_received_at
) GROUP BY ALL ORDER BY day;
