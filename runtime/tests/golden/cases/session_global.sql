-- t
SELECT window_start, window_end, COUNT(*) AS n FROM SESSION(orders, ts, INTERVAL '20 seconds') GROUP BY window_start, window_end HAVING COUNT(*) > 1
-- rows
