"""Consumers in their own processes: the notebook's handle, and the code of the process."""
