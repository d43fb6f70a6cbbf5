"""What the settings file says: the model, read and checked."""
