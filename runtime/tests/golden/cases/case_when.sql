-- t
SELECT customer, CASE WHEN cents < 0 THEN 'refund' WHEN cents IS NULL THEN 'unknown' ELSE 'sale' END AS kind, coalesce(country, '?') AS country FROM orders
-- rows
