-- t
SELECT window_start, COUNT(*) AS n FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') WHERE date_part('second', window_start) = 30 GROUP BY window_start, window_end
-- rows
