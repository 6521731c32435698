"""The command `elicit transfer`: what synthesised images say to other classifiers."""
