-- t
SELECT * FROM returns
-- rows
