"""The emoji world."""
