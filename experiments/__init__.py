"""The command line `elicit`, the papers' tables and figures, reports, the quickstart."""
