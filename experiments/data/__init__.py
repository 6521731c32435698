"""The commands `elicit data …` and `elicit augment`."""
