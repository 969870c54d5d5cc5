"""An encoder and a decoder for hybrid-asr."""
