"""Recordings of a stream: the states that the server reported, and what happened between."""
