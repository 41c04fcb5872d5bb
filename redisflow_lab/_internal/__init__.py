"""Internals of the helper: what its public modules are built from.

Nothing here is a public interface. A service imports the modules one level up.
"""
