-- t
SELECT window_start, window_end, customer, SUM(cents) AS total, COUNT(*) AS n FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, customer
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":1,"total":50,"n":2}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":2,"total":345,"n":3}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":3,"total":null,"n":1}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":4,"total":10,"n":1}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":1,"total":301,"n":2}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":2,"total":100,"n":1}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":4,"total":20,"n":1}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":null,"total":40,"n":1}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":2,"total":8,"n":1}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":3,"total":600,"n":1}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":4,"total":30,"n":1}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":null,"total":null,"n":1}
