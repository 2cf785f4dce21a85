-- t
SELECT window_start, SUM(CASE WHEN customer = 1 THEN 9223372036854775807 WHEN customer = 2 THEN -9223372036854775807 END) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","total":-9223372036854775807}
{"window_start":"2026-01-01T00:01:00","total":9223372036854775807}
{"window_start":"2026-01-01T00:02:00","total":-9223372036854775807}
