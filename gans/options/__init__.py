"""Options of GANs, which are read without JAX."""
