"""Plain records of what a look at a kernel found: ids, facts, and reasons for what is missing."""
