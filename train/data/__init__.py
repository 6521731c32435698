"""Image sets: reading, writing, checking and combining them."""

DIGITS = "digits"
"""Name of the data set of scikit-learn's handwritten digits, which is read without a directory."""
