"""What a classifier says about how useful an image is."""
