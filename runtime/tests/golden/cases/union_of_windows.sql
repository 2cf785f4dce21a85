-- a
SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
-- b
SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(returns, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
-- t
SELECT window_start, window_end, SUM(total) AS net FROM (SELECT * FROM a UNION ALL SELECT * FROM b) GROUP BY window_start, window_end
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","net":305}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","net":386}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","net":633}
