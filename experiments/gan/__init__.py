"""The commands `elicit gan …` and `elicit select`."""
