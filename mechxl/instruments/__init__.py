"""What is put to the model: activations, and later patching and erasure."""
