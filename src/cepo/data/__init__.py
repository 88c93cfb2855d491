"""Data sets, their rows and images, and rewards."""
