-- t
SELECT window_start, COUNT(*) FILTER (WHERE cents > 50) AS big, SUM(cents) FILTER (WHERE country = 'DE') AS german FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","big":3,"german":50}
{"window_start":"2026-01-01T00:01:00","big":2,"german":300}
{"window_start":"2026-01-01T00:02:00","big":1,"german":null}
