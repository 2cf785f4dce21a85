-- t
SELECT DISTINCT window_start, window_end, customer FROM TUMBLE(orders, ts, INTERVAL '1 minute')
-- rows
