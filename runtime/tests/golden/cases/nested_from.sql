-- t
SELECT x.window_start, x.total * 2 AS twice FROM (SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end) x WHERE x.total > 100
-- rows
{"window_start":"2026-01-01T00:00:00","twice":810}
{"window_start":"2026-01-01T00:01:00","twice":922}
{"window_start":"2026-01-01T00:02:00","twice":1276}
