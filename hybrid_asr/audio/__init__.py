"""Audio files, features and augmentation."""
