"""Which synthetic images are copies of real ones."""
