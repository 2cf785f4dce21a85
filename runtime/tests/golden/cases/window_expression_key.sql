-- t
SELECT window_start, date_part('minute', window_end) AS minute, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, date_part('minute', window_end)
-- rows
{"window_start":"2026-01-01T00:00:00","minute":1,"n":7}
{"window_start":"2026-01-01T00:01:00","minute":2,"n":5}
{"window_start":"2026-01-01T00:02:00","minute":3,"n":4}
