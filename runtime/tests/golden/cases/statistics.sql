-- t
SELECT window_start, round(stddev(cents), 6) AS sd, round(var_pop(cents), 6) AS vp, median(cents) AS median, bit_xor(cents) AS bits, approx_distinct(country) AS countries FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
