-- t
SELECT window_start, upper(country) AS country, cents > 50 AS big, SUM(cents + 1) / COUNT(*) AS average FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, upper(country), cents > 50
-- rows
