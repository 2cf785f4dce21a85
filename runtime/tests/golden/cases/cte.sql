-- t
WITH sales AS (SELECT ts, customer, cents FROM orders WHERE cents > 0), big AS (SELECT * FROM sales WHERE cents >= 100) SELECT window_start, customer, COUNT(*) AS n FROM TUMBLE(big, ts, INTERVAL '1 minute') GROUP BY window_start, customer
-- rows
