-- t
SELECT window_start, window_end, COUNT(*) AS n FROM SESSION(orders, ts, INTERVAL '20 seconds') GROUP BY window_start, window_end HAVING COUNT(*) > 1
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:00:51","n":5}
{"window_start":"2026-01-01T00:00:58","window_end":"2026-01-01T00:01:26","n":6}
{"window_start":"2026-01-01T00:01:59","window_end":"2026-01-01T00:02:25","n":3}
