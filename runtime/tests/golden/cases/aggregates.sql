-- t
SELECT window_start, MIN(cents) AS low, MAX(cents) AS high, AVG(cents) AS mean, COUNT(DISTINCT customer) AS customers, SUM(DISTINCT cents) AS distinct_cents, bool_and(cents > 0) AS all_positive, bool_or(cents < 0) AS any_negative, MIN(country) AS first_country, MAX(ts) AS last FROM TUMBLE(orders, ts, INTERVAL '1 minute') GROUP BY window_start
-- rows
