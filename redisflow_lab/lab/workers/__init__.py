"""Consumers as real processes: the handle a notebook holds, and what runs on the other side."""
