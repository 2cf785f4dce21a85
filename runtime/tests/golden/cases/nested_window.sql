-- t
SELECT window_start, window_end, MAX(total) AS best, COUNT(*) AS customers FROM (SELECT window_start, window_end, customer, SUM(cents) AS total FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, customer) GROUP BY window_start, window_end
-- rows
