-- a
SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
-- b
SELECT window_start, window_end, SUM(cents) AS total FROM TUMBLE(returns, ts, INTERVAL '1 minute') GROUP BY window_start, window_end
-- t
SELECT window_start, window_end, SUM(total) AS net FROM (SELECT * FROM a UNION ALL SELECT * FROM b) GROUP BY window_start, window_end
-- rows
