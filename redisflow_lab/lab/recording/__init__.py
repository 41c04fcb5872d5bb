"""What a stream went through: states that the server reported, and what happened between."""
