"""Pre-trained generators: one module for each kind, one interface for all."""
