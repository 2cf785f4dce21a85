-- t
SELECT window_start, window_end, customer, SUM(cents) AS total FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end, customer
-- rows
