"""Error counts, error rates and their statistics."""
