-- per_second
SELECT window_start, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, customer
-- per_minute
SELECT window_start, SUM(total) AS total FROM TUMBLE(per_second, window_start, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","total":405}
{"window_start":"2026-01-01T00:01:00","total":461}
{"window_start":"2026-01-01T00:02:00","total":638}
