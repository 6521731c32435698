"""Files that are whole or absent, locks, checkpoints and runs."""
