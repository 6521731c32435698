"""The command `elicit explore`: a local page to choose an output and watch an image elicit it."""
