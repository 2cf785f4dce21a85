-- cleaned
SELECT ts, customer, cents FROM orders WHERE cents IS NOT NULL
-- per_minute
SELECT window_start, window_end, window_time, customer, SUM(cents) AS total FROM TUMBLE(cleaned, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, window_time, customer
-- big
SELECT window_start, customer, total FROM per_minute WHERE total > 50
-- rows
{"window_start":"2026-01-01T00:00:00","customer":2,"total":345}
{"window_start":"2026-01-01T00:01:00","customer":1,"total":301}
{"window_start":"2026-01-01T00:01:00","customer":2,"total":100}
{"window_start":"2026-01-01T00:02:00","customer":3,"total":600}
