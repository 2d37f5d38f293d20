"""Solvers by their names in diffusers, as far as they differ in what they solve."""

FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)
"""Those of flows alone."""

EITHER = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
"""Those of diffusion models that solve flows as well."""
