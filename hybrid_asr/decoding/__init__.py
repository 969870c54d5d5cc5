"""From an encoded utterance to hypotheses."""
