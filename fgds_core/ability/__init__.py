"""Whether a generator can draw the classes, told by a few images before many are drawn."""
