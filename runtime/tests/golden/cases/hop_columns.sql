-- t
SELECT ts, window_start, window_end FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') WHERE customer = 3
-- rows
{"ts":"2026-01-01T00:00:31","window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00"}
{"ts":"2026-01-01T00:00:31","window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30"}
{"ts":"2026-01-01T00:02:30","window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00"}
{"ts":"2026-01-01T00:02:30","window_start":"2026-01-01T00:02:30","window_end":"2026-01-01T00:03:30"}
