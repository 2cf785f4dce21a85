-- t
SELECT window_start, customer, array_agg(DISTINCT country) AS countries FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE customer = 4 GROUP BY window_start, customer
-- rows
