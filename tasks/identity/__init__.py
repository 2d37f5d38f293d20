"""What a result is made from: code, inputs, caches, DVC."""
