-- t
SELECT window_start, customer, array_agg(DISTINCT country) AS countries FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE customer = 4 GROUP BY window_start, customer
-- rows
{"window_start":"2026-01-01T00:00:00","customer":4,"countries":["Ö"]}
{"window_start":"2026-01-01T00:01:00","customer":4,"countries":["Ö"]}
{"window_start":"2026-01-01T00:02:00","customer":4,"countries":["Ö"]}
