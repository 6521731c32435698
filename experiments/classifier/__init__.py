"""The commands `elicit classifier …`."""
