-- t
SELECT DISTINCT window_start, window_end, customer FROM TUMBLE(orders, ts, INTERVAL '1 minute')
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":1}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":2}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":3}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":4}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":1}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":2}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":4}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":null}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":2}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":3}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":4}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":null}
