-- t
SELECT window_start, window_end, window_time, customer, COUNT(*) AS n, SUM(cents) AS total FROM SESSION(orders, ts, INTERVAL '30 seconds') GROUP BY window_start, window_end, window_time, customer
-- rows
{"window_start":"2026-01-01T00:00:00","window_end":"2026-01-01T00:00:40","window_time":"2026-01-01T00:00:39.999999","customer":1,"n":2,"total":50}
{"window_start":"2026-01-01T00:00:05","window_end":"2026-01-01T00:00:35","window_time":"2026-01-01T00:00:34.999999","customer":4,"n":1,"total":10}
{"window_start":"2026-01-01T00:00:12","window_end":"2026-01-01T00:00:42","window_time":"2026-01-01T00:00:41.999999","customer":2,"n":1,"total":250}
{"window_start":"2026-01-01T00:00:31","window_end":"2026-01-01T00:01:01","window_time":"2026-01-01T00:01:00.999999","customer":3,"n":1,"total":null}
{"window_start":"2026-01-01T00:00:58","window_end":"2026-01-01T00:01:34","window_time":"2026-01-01T00:01:33.999999","customer":2,"n":3,"total":195}
{"window_start":"2026-01-01T00:01:01","window_end":"2026-01-01T00:01:31","window_time":"2026-01-01T00:01:30.999999","customer":1,"n":1,"total":300}
{"window_start":"2026-01-01T00:01:05","window_end":"2026-01-01T00:01:35","window_time":"2026-01-01T00:01:34.999999","customer":4,"n":1,"total":20}
{"window_start":"2026-01-01T00:01:06","window_end":"2026-01-01T00:01:36","window_time":"2026-01-01T00:01:35.999999","customer":null,"n":1,"total":40}
{"window_start":"2026-01-01T00:01:59","window_end":"2026-01-01T00:02:29","window_time":"2026-01-01T00:02:28.999999","customer":1,"n":1,"total":1}
{"window_start":"2026-01-01T00:02:04","window_end":"2026-01-01T00:02:34","window_time":"2026-01-01T00:02:33.999999","customer":null,"n":1,"total":null}
{"window_start":"2026-01-01T00:02:05","window_end":"2026-01-01T00:02:35","window_time":"2026-01-01T00:02:34.999999","customer":4,"n":1,"total":30}
{"window_start":"2026-01-01T00:02:30","window_end":"2026-01-01T00:03:00","window_time":"2026-01-01T00:02:59.999999","customer":3,"n":1,"total":600}
{"window_start":"2026-01-01T00:02:59","window_end":"2026-01-01T00:03:29","window_time":"2026-01-01T00:03:28.999999","customer":2,"n":1,"total":8}
