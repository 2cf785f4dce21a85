-- per_session
SELECT window_end, customer, COUNT(*) AS n FROM SESSION(orders, ts, INTERVAL '20 seconds') GROUP BY window_start, window_end, customer
-- per_minute
SELECT window_start, COUNT(*) AS sessions, SUM(n) AS n FROM TUMBLE(per_session, window_end, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","sessions":4,"n":5}
{"window_start":"2026-01-01T00:01:00","sessions":4,"n":6}
{"window_start":"2026-01-01T00:02:00","sessions":4,"n":4}
{"window_start":"2026-01-01T00:03:00","sessions":1,"n":1}
