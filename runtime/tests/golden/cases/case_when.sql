-- t
SELECT customer, CASE WHEN cents < 0 THEN 'refund' WHEN cents IS NULL THEN 'unknown' ELSE 'sale' END AS kind, coalesce(country, '?') AS country FROM orders
-- rows
{"customer":1,"kind":"refund","country":"DE"}
{"customer":1,"kind":"sale","country":"DE"}
{"customer":1,"kind":"sale","country":"DE"}
{"customer":1,"kind":"sale","country":"DE"}
{"customer":1,"kind":"sale","country":"FR"}
{"customer":2,"kind":"sale","country":"?"}
{"customer":2,"kind":"sale","country":"FR"}
{"customer":2,"kind":"sale","country":"FR"}
{"customer":2,"kind":"sale","country":"FR"}
{"customer":2,"kind":"sale","country":"FR"}
{"customer":3,"kind":"sale","country":"SE"}
{"customer":3,"kind":"unknown","country":"SE"}
{"customer":4,"kind":"sale","country":"Ö"}
{"customer":4,"kind":"sale","country":"Ö"}
{"customer":4,"kind":"sale","country":"Ö"}
{"customer":null,"kind":"sale","country":"SE"}
{"customer":null,"kind":"unknown","country":"?"}
