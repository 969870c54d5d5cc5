"""Attention as data, and as a diagnosis."""
