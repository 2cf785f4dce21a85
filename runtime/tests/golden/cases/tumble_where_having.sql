-- t
SELECT window_end, country, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE cents > 0 GROUP BY window_start, window_end, country HAVING COUNT(*) > 1
-- rows
