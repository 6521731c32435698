"""Commands at the terminal: progress, signals, compiled programs, several processes."""
