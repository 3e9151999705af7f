"""Small modules that put the client into other libraries. Each imports its own library, and none imports another."""
