-- t
SELECT window_start, kind, SUM(cents) AS total FROM TUMBLE((SELECT ts, cents, 'order' AS kind FROM orders UNION ALL SELECT ts, cents, 'return' AS kind FROM returns), ts, INTERVAL '1 minute') GROUP BY window_start, kind
-- rows
