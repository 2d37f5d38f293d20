"""Images at rest and in memory: pixels, Parquet tables, rows by index, random changes."""
