-- t
SELECT CAST(cents AS VARCHAR) AS text, CAST(cents AS DECIMAL(10, 2)) AS decimal, CAST(ts AS DATE) AS day, CAST(price AS FLOAT) AS price, date_trunc('minute', ts) AS minute, length(country) AS letters FROM orders WHERE customer = 2
-- rows
{"text":"100","decimal":100.00,"day":"2026-01-01","price":25.0,"minute":"2026-01-01T00:01:00","letters":2}
{"text":"20","decimal":20.00,"day":"2026-01-01","price":5.0,"minute":"2026-01-01T00:00:00","letters":2}
{"text":"250","decimal":250.00,"day":"2026-01-01","price":62.5,"minute":"2026-01-01T00:00:00","letters":2}
{"text":"75","decimal":75.00,"day":"2026-01-01","price":18.75,"minute":"2026-01-01T00:00:00","letters":null}
{"text":"8","decimal":8.00,"day":"2026-01-01","price":2.0,"minute":"2026-01-01T00:02:00","letters":2}
