"""From audio to hypotheses: encoding, batch sizes, the one pass over a set, decoders built from their settings."""
