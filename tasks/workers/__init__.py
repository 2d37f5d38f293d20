"""Who computes: devices, runners, locks."""
