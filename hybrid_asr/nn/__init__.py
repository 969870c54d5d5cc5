"""Layers from which encoders and decoders are built."""
