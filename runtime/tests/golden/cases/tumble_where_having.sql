-- t
SELECT window_end, country, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE cents > 0 GROUP BY window_start, window_end, country HAVING COUNT(*) > 1
-- rows
{"window_end":"2026-01-01T00:01:00","country":"FR","total":270}
{"window_end":"2026-01-01T00:02:00","country":"FR","total":101}
