"""The command `elicit verify`: checks digests, and repeats parts of experiments."""
