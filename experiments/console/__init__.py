"""What commands share at the terminal: progress, signals, several processes."""
