"""The remedy: a generator learns classes that it cannot draw from real training images."""
