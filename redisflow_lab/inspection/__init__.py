"""What the server says of a stream at one moment, and what is said if it is not there."""
