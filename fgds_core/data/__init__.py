"""The real images: imbalance, sources, preparing them, their splits."""
