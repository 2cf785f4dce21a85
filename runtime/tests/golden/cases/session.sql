-- t
SELECT window_start, window_end, window_time, customer, COUNT(*) AS n, SUM(cents) AS total FROM SESSION(orders, ts, INTERVAL '30 seconds') GROUP BY window_start, window_end, window_time, customer
-- rows
