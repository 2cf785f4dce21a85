-- t
SELECT window_start, date_part('minute', window_end) AS minute, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, date_part('minute', window_end)
-- rows
