-- t
SELECT window_start, window_end, customer, SUM(cents) AS total FROM HOP(orders, ts, INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end, customer
-- rows
{"window_start":"2025-12-31T23:59:30","window_end":"2026-01-01T00:00:30","customer":1,"total":50}
{"window_start":"2025-12-31T23:59:30","window_end":"2026-01-01T00:00:30","customer":2,"total":250}
{"window_start":"2025-12-31T23:59:30","window_end":"2026-01-01T00:00:30","customer":4,"total":10}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":1,"total":50}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":2,"total":345}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":3,"total":null}
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:01:00","customer":4,"total":10}
{"window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30","customer":1,"total":300}
{"window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30","customer":2,"total":195}
{"window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30","customer":3,"total":null}
{"window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30","customer":4,"total":20}
{"window_start":"2026-01-01T00:00:30","window_end":"2026-01-01T00:01:30","customer":null,"total":40}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":1,"total":301}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":2,"total":100}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":4,"total":20}
{"window_start":"2026-01-01T00:01:00","window_end":"2026-01-01T00:02:00","customer":null,"total":40}
{"window_start":"2026-01-01T00:01:30","window_end":"2026-01-01T00:02:30","customer":1,"total":1}
{"window_start":"2026-01-01T00:01:30","window_end":"2026-01-01T00:02:30","customer":4,"total":30}
{"window_start":"2026-01-01T00:01:30","window_end":"2026-01-01T00:02:30","customer":null,"total":null}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":2,"total":8}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":3,"total":600}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":4,"total":30}
{"window_start":"2026-01-01T00:02:00","window_end":"2026-01-01T00:03:00","customer":null,"total":null}
{"window_start":"2026-01-01T00:02:30","window_end":"2026-01-01T00:03:30","customer":2,"total":8}
{"window_start":"2026-01-01T00:02:30","window_end":"2026-01-01T00:03:30","customer":3,"total":600}
