"""Diffusion models: noise, denoisers, solvers, guidance."""
