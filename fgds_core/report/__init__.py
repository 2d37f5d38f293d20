"""Results for people: comparisons, tables, the page."""
