-- t
SELECT customer, cents FROM orders WHERE cents > 250 UNION ALL SELECT customer, cents FROM orders WHERE cents > 500
-- rows
