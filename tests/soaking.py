"""Whether there is time."""

import os

SOAK = os.environ.get("ELICIT_SOAK") == "1"
"""As `make soak` asks for: whole families in place of a few members, and many more kills."""
