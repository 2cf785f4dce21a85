-- t
SELECT customer, cents FROM orders WHERE cents > 250 UNION ALL SELECT customer, cents FROM orders WHERE cents > 500
-- rows
{"customer":1,"cents":300}
{"customer":1,"cents":9999}
{"customer":1,"cents":9999}
{"customer":3,"cents":600}
{"customer":3,"cents":600}
