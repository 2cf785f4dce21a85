-- t
SELECT window_start, COUNT(*) AS n FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') WHERE date_part('second', window_start) = 30 GROUP BY window_start, window_end
-- rows
{"window_start":"2025-12-31T23:59:30","n":4}
{"window_start":"2026-01-01T00:00:30","n":7}
{"window_start":"2026-01-01T00:01:30","n":3}
{"window_start":"2026-01-01T00:02:30","n":2}
