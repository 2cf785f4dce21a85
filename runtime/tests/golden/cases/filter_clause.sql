-- t
SELECT window_start, COUNT(*) FILTER (WHERE cents > 50) AS big, SUM(cents) FILTER (WHERE country = 'DE') AS german FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
