-- t
SELECT window_start, COUNT(*) AS n, COUNT(cents) AS known, SUM(price) AS price FROM TUMBLE(orders, ts, INTERVAL '1' MINUTE) GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","n":7,"known":6,"price":101.25}
{"window_start":"2026-01-01T00:01:00","n":5,"known":5,"price":115.25}
{"window_start":"2026-01-01T00:02:00","n":4,"known":3,"price":159.5}
