-- t
SELECT window_start, window_end, MAX(total) AS best, COUNT(*) AS customers FROM (SELECT window_start, window_end, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, customer) GROUP BY window_start, window_end
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","best":345,"customers":4}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","best":301,"customers":4}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","best":600,"customers":4}
