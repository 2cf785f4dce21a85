-- t
SELECT ts, window_start, window_end FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') WHERE customer = 3
-- rows
