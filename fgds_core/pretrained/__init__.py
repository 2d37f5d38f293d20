"""Pre-trained models of others: their folders, checked and loaded."""
