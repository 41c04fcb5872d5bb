"""The plumbing of the helper: what its public modules are built from.

Nothing here is an interface. A service imports the modules one level up.
"""
