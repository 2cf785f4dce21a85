-- t
WITH sales AS (SELECT ts, customer, cents FROM orders WHERE cents > 0), big AS (SELECT * FROM sales WHERE cents >= 100) SELECT window_start, customer, COUNT(*) AS n FROM TUMBLE(big, ts, INTERVAL '1 minute') GROUP BY window_start, customer
-- rows
{"window_start":"2026-01-01T00:00:00","customer":1,"n":1}
{"window_start":"2026-01-01T00:00:00","customer":2,"n":1}
{"window_start":"2026-01-01T00:01:00","customer":1,"n":1}
{"window_start":"2026-01-01T00:01:00","customer":2,"n":1}
{"window_start":"2026-01-01T00:02:00","customer":3,"n":1}
