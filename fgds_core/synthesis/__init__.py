"""Drawing the synthetic images, and the set at rest."""
