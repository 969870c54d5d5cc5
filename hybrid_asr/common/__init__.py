"""What every package may need: errors, whole files, locks, memory, the environment, masks."""
