"""Networks of classifiers and their layers."""

from typing import Literal

NetworkName = Literal["vgg16", "vgg-small", "kono-cnn", "resnet9", "wrn-16-4"]
"""Names of the networks of classifiers."""
