"""What a synthetic set is worth before anything is trained on it."""
