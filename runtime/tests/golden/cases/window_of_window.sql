-- per_second
SELECT window_start, window_end, window_time, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, window_time, customer
-- per_minute
SELECT window_start, window_end, SUM(total) AS total, COUNT(*) AS parts FROM TUMBLE(per_second, window_time, INTERVAL '1 minute') GROUP BY window_start, window_end
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","total":405,"parts":6}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","total":461,"parts":5}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","total":638,"parts":4}
