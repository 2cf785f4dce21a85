-- t
SELECT window_start, COUNT(*) AS n, COUNT(cents) AS known, SUM(price) AS price FROM TUMBLE(orders, ts, INTERVAL '1' MINUTE) GROUP BY window_start
-- rows
