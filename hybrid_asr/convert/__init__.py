"""Conversion of models between other toolkits and hybrid-asr."""
