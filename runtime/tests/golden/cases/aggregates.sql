-- t
SELECT window_start, MIN(cents) AS low, MAX(cents) AS high, AVG(cents) AS mean, COUNT(DISTINCT customer) AS customers, SUM(DISTINCT cents) AS distinct_cents, bool_and(cents > 0) AS all_positive, bool_or(cents < 0) AS any_negative, MIN(country) AS first_country, MAX(ts) AS last FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
{"window_start":"2026-01-01T00:00:00","low":-50,"high":250,"mean":67.5,"customers":4,"distinct_cents":405,"all_positive":false,"any_negative":true,"first_country":"DE","last":"2026-01-01T00:00:59"}
{"window_start":"2026-01-01T00:01:00","low":1,"high":300,"mean":92.2,"customers":3,"distinct_cents":461,"all_positive":true,"any_negative":false,"first_country":"DE","last":"2026-01-01T00:01:59"}
{"window_start":"2026-01-01T00:02:00","low":8,"high":600,"mean":212.66666666666666,"customers":3,"distinct_cents":638,"all_positive":true,"any_negative":false,"first_country":"FR","last":"2026-01-01T00:02:59"}
