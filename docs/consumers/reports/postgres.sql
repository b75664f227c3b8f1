-- Reports on the tables that `legato load postgres://…` keeps. Days and hours are UTC, of the start of a leg; a leg without
-- one counts when its first event was received. Restrict them by "WHERE started_at >= … AND started_at < …".

-- report: traffic
-- By connection and day: legs, how many were answered (ASR), how long these lasted on average (ACD), and minutes.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::date AS day, count(*) AS legs,
  count(*) FILTER (WHERE outcome = 'answered') AS answered,
  round(count(*) FILTER (WHERE outcome = 'answered')::numeric / count(*), 4) AS asr,
  round(avg(talk_seconds) FILTER (WHERE outcome = 'answered')::numeric, 3) AS acd_seconds,
  round((sum(talk_seconds) / 60)::numeric, 2) AS minutes
FROM legato.legs GROUP BY 1, 2 ORDER BY 2, 1;

-- report: cost
-- By connection, day and currency. A leg that has costs in several currencies is in cost_totals only.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::date AS day, cost_currency AS currency,
  count(*) AS legs, sum(cost_amount) AS cost
FROM legato.legs WHERE cost_amount IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 2, 1, 3;

-- report: busiest_hour
-- The hour of each day in which most legs started.
SELECT DISTINCT ON (day) day, hour, legs
FROM (
  SELECT (started_at AT TIME ZONE 'UTC')::date AS day, extract(hour FROM started_at AT TIME ZONE 'UTC')::integer AS hour, count(*) AS legs
  FROM legato.legs WHERE started_at IS NOT NULL GROUP BY 1, 2
) AS hours ORDER BY day, legs DESC, hour;

-- report: concurrency
-- The most legs of each day that were up at once. A leg that ends in the instant in which another starts is not counted with it.
WITH steps AS (
  SELECT started_at AS moment, 1 AS step FROM legato.legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
  UNION ALL
  SELECT ended_at, -1 FROM legato.legs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL
), running AS (
  SELECT moment, sum(step) OVER (ORDER BY moment, step ROWS UNBOUNDED PRECEDING) AS legs FROM steps
)
SELECT (moment AT TIME ZONE 'UTC')::date AS day, max(legs) AS legs FROM running GROUP BY 1 ORDER BY 1;

-- report: short_calls
-- Answered legs of less than ten seconds, by connection and day, and their share.
SELECT connection_id, (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::date AS day,
  count(*) FILTER (WHERE talk_seconds < 10) AS short,
  round(count(*) FILTER (WHERE talk_seconds < 10)::numeric / count(*), 4) AS share
FROM legato.legs WHERE outcome = 'answered' GROUP BY 1, 2 ORDER BY 2, 1;

-- report: hung_up
-- Who ended answered legs, seen from your side, by day.
SELECT (coalesce(started_at, first_received_at) AT TIME ZONE 'UTC')::date AS day, coalesce(hangup_party, 'unknown') AS party, count(*) AS legs
FROM legato.legs WHERE outcome = 'answered' GROUP BY 1, 2 ORDER BY 1, 2;

-- report: doubts
-- What Legato doubted, by note: docs/messages.md explains each.
SELECT note, count(*) AS legs, round(count(*)::numeric / (SELECT count(*) FROM legato.legs), 4) AS share
FROM legato.legs, unnest(notes) AS note GROUP BY 1 ORDER BY 2 DESC, 1;

-- report: delay
-- Seconds from the receipt of the hangup to the confirmed summary, by day.
SELECT (times_hangup_received_at AT TIME ZONE 'UTC')::date AS day, count(*) AS legs,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds) AS median_seconds,
  percentile_disc(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds, max(seconds) AS max_seconds
FROM (
  SELECT times_hangup_received_at, round(extract(epoch FROM times_enriched_at - times_hangup_received_at)::numeric, 6) AS seconds
  FROM legato.legs WHERE times_enriched_at >= times_hangup_received_at
) AS delays GROUP BY 1 ORDER BY 1;
