-- t
SELECT ts, upper(country) AS country, cents * 2 AS doubled, price FROM orders WHERE cents > 50
-- rows
