"""Manifests, the plan of an epoch, and batches."""
