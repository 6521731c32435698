"""The command line `elicit`, the papers' tables and figures, reports, the quickstart."""

from elicit_jax import check_packages

check_packages()
