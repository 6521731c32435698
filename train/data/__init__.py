"""Image sets: reading, writing, checking and combining them."""
