-- t
SELECT ts, window_start, window_end, window_time, cents FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE customer = 4
-- rows
{"ts":"2026-01-01T00:00:05","window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","window_time":"2026-01-01T00:00:59.999999","cents":10}
{"ts":"2026-01-01T00:01:05","window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","window_time":"2026-01-01T00:01:59.999999","cents":20}
{"ts":"2026-01-01T00:02:05","window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","window_time":"2026-01-01T00:02:59.999999","cents":30}
