-- t
SELECT window_start, upper(country) AS country, cents > 50 AS big, SUM(cents + 1) / COUNT(*) AS average FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, upper(country), cents > 50
-- rows
{"window_start":"2026-01-01T00:00:00","country":"DE","big":false,"average":-49}
{"window_start":"2026-01-01T00:00:00","country":"DE","big":true,"average":101}
{"window_start":"2026-01-01T00:00:00","country":"FR","big":false,"average":21}
{"window_start":"2026-01-01T00:00:00","country":"FR","big":true,"average":251}
{"window_start":"2026-01-01T00:00:00","country":"SE","big":null,"average":null}
{"window_start":"2026-01-01T00:00:00","country":"Ö","big":false,"average":11}
{"window_start":"2026-01-01T00:00:00","country":null,"big":true,"average":76}
{"window_start":"2026-01-01T00:01:00","country":"DE","big":true,"average":301}
{"window_start":"2026-01-01T00:01:00","country":"FR","big":false,"average":2}
{"window_start":"2026-01-01T00:01:00","country":"FR","big":true,"average":101}
{"window_start":"2026-01-01T00:01:00","country":"SE","big":false,"average":41}
{"window_start":"2026-01-01T00:01:00","country":"Ö","big":false,"average":21}
{"window_start":"2026-01-01T00:02:00","country":"FR","big":false,"average":9}
{"window_start":"2026-01-01T00:02:00","country":"SE","big":true,"average":601}
{"window_start":"2026-01-01T00:02:00","country":"Ö","big":false,"average":31}
{"window_start":"2026-01-01T00:02:00","country":null,"big":null,"average":null}
