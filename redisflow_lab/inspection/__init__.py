"""Reads a stream and its groups at one moment, and explains what does not exist."""
