"""A run as a folder: its recipe, its records, its export."""
