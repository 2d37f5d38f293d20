"""What a synthetic set is worth in real images, read off a learning curve of the real ones.

T trainings, U units (classes, or classes within a group), V validation images, B resamples.
"""
