-- per_session
SELECT window_end, customer, COUNT(*) AS n FROM SESSION(orders, ts, INTERVAL '20 seconds') GROUP BY window_start, window_end, customer
-- per_minute
SELECT window_start, COUNT(*) AS sessions, SUM(n) AS n FROM TUMBLE(per_session, window_end, INTERVAL '1 minute') GROUP BY window_start
-- rows
