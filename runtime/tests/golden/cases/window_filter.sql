-- t
SELECT window_start, window_end, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE window_start > '2026-01-01T00:00:00' GROUP BY window_start, window_end
-- rows
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","n":5}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","n":4}
