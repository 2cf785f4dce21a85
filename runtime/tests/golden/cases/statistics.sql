-- t
SELECT window_start, round(stddev(cents), 6) AS sd, round(var_pop(cents), 6) AS vp, median(cents) AS median, bit_xor(cents) AS bits, approx_distinct(country) AS countries FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","sd":103.718369,"vp":8964.583333,"median":47.5,"bits":-251,"countries":4}
{"window_start":"2026-01-01T00:01:00","sd":121.959829,"vp":11899.36,"median":40.0,"bits":373,"countries":4}
{"window_start":"2026-01-01T00:02:00","sd":335.620818,"vp":75094.222222,"median":30.0,"bits":590,"countries":3}
