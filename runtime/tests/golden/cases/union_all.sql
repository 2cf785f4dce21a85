-- t
SELECT window_start, kind, SUM(cents) AS total FROM TUMBLE((SELECT ts, cents, 'order' AS kind FROM orders UNION ALL SELECT ts, cents, 'return' AS kind FROM returns), ts, INTERVAL '1 minute') GROUP BY window_start, kind
-- rows
{"window_start":"2026-01-01T00:00:00","kind":"order","total":405}
{"window_start":"2026-01-01T00:00:00","kind":"return","total":-100}
{"window_start":"2026-01-01T00:01:00","kind":"order","total":461}
{"window_start":"2026-01-01T00:01:00","kind":"return","total":-75}
{"window_start":"2026-01-01T00:02:00","kind":"order","total":638}
{"window_start":"2026-01-01T00:02:00","kind":"return","total":-5}
