"""What the trainings of classifiers and of GANs share."""
