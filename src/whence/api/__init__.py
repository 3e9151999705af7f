"""The HTTP side of Whence."""
