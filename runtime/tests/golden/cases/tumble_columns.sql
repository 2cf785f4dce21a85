-- t
SELECT ts, window_start, window_end, window_time, cents FROM TUMBLE(orders, ts, INTERVAL '1 minute') WHERE customer = 4
-- rows
