-- t
SELECT window_start, window_end, customer, SUM(cents) AS total, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, customer
-- rows
