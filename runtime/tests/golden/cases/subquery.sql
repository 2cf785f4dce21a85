-- t
SELECT window_start, big, COUNT(*) AS n FROM TUMBLE((SELECT ts, cents > 50 AS big FROM orders WHERE cents IS NOT NULL), ts, INTERVAL '1 minute') GROUP BY window_start, big
-- rows
