"""Thin cached Prefect tasks around `fgds_core`."""
