"""What `tests/stress/fuzz.py` is made of: inputs, the operators that damage them, the verdict on what a reader says."""
