"""Other toolkits' models to ours and back."""
