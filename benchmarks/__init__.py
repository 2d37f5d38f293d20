"""Measured comparisons, each runnable on its own, results written as JSON."""
