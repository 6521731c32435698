"""Networks of classifiers and their layers."""
