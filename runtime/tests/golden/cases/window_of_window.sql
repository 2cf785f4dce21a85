-- per_second
SELECT window_start, window_end, window_time, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, window_time, customer
-- per_minute
SELECT window_start, window_end, SUM(total) AS total, COUNT(*) AS parts FROM TUMBLE(per_second, window_time, INTERVAL '1 minute') GROUP BY window_start, window_end
-- rows
