"""What is put to a model: activations are read, patches and erasures change them."""
