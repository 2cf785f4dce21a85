-- t
SELECT * FROM returns
-- rows
{"ts":"2026-01-01T00:00:20","customer":1,"cents":-100,"price":-25.0,"country":"DE"}
{"ts":"2026-01-01T00:01:20","customer":2,"cents":-75,"price":-18.75,"country":"FR"}
{"ts":"2026-01-01T00:02:20","customer":4,"cents":-5,"price":-1.25,"country":"Ö"}
