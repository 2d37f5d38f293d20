"""The classifiers: network, training, metrics."""
