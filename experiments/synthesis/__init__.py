"""The command `elicit synthesize`."""
