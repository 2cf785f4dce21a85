-- t
SELECT ts, upper(country) AS country, cents * 2 AS doubled, price FROM orders WHERE cents > 50
-- rows
{"ts":"2026-01-01T00:00:00","country":"DE","doubled":200,"price":25.0}
{"ts":"2026-01-01T00:00:03","country":"DE","doubled":19998,"price":2499.75}
{"ts":"2026-01-01T00:00:12","country":"FR","doubled":500,"price":62.5}
{"ts":"2026-01-01T00:00:59","country":null,"doubled":150,"price":18.75}
{"ts":"2026-01-01T00:01:01","country":"DE","doubled":600,"price":75.0}
{"ts":"2026-01-01T00:01:04","country":"FR","doubled":200,"price":25.0}
{"ts":"2026-01-01T00:02:30","country":"SE","doubled":1200,"price":150.0}
