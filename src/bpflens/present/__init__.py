"""From records to text: one list of columns for table, JSON, CSV, help and completion."""
