"""The experiment that answers whether made images help a classifier of few images."""
