"""Options of `elicit classifier train`, and the checks of those that do not fit together."""
