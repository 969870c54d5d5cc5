"""A run: its configuration, which names every section, and its folder."""
