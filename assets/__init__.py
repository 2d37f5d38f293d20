"""The embedded default: a small data set, a small generator, and the scripts that make them."""
