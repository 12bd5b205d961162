"""Between records and rows: what is a column, what is JSON, and what is compressed."""
