"""DCGANs and Stacked GANs for small data sets: training, sampling, selection, evaluation."""

from elicit_jax import check_packages, interface

check_packages()

__getattr__, __dir__, __all__ = interface(__name__, __file__)
