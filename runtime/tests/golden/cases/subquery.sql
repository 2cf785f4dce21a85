-- t
SELECT window_start, big, COUNT(*) AS n FROM TUMBLE((SELECT ts, cents > 50 AS big FROM orders WHERE cents IS NOT NULL), ts, INTERVAL '1 minute') GROUP BY window_start, big
-- rows
{"window_start":"2026-01-01T00:00:00","big":false,"n":3}
{"window_start":"2026-01-01T00:00:00","big":true,"n":3}
{"window_start":"2026-01-01T00:01:00","big":false,"n":3}
{"window_start":"2026-01-01T00:01:00","big":true,"n":2}
{"window_start":"2026-01-01T00:02:00","big":false,"n":2}
{"window_start":"2026-01-01T00:02:00","big":true,"n":1}
