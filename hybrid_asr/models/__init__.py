"""Encoders, decoders, the CTC head, and the hybrid model made of them."""
