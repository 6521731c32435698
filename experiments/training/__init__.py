"""Training in a run's directory, for classifiers and GANs."""
