"""The command `elicit quickstart`."""
