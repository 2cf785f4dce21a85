-- cleaned
SELECT ts, customer, cents FROM orders WHERE cents IS NOT NULL
-- per_minute
SELECT window_start, window_end, window_time, customer, SUM(cents) AS total FROM TUMBLE(cleaned, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time, customer
-- big
SELECT window_start, customer, total FROM per_minute WHERE total > 50
-- rows
