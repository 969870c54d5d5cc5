"""Text: normalization and tokenizers."""
