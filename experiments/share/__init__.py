"""`elicit export`, and what it writes read back by `elicit data import`."""
