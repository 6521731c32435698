"""Options of all commands, which are read without JAX, so that help and refusals are quick."""
