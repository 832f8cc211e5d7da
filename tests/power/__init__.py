"""File systems of our own, in an image or in memory, that can be cut off, fill up, and fail."""
