-- t
SELECT CAST(cents AS VARCHAR) AS text, CAST(cents AS DECIMAL(10, 2)) AS decimal, CAST(ts AS DATE) AS day, CAST(price AS FLOAT) AS price, date_trunc('minute', ts) AS minute, length(country) AS letters FROM orders WHERE customer = 2
-- rows
