"""The command `elicit verify`."""
