-- t
SELECT x.window_start, x.total * 2 AS twice FROM (SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end) x WHERE x.total > 100
-- rows
