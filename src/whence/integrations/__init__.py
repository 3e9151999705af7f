"""Integrations with other libraries, one module each. A module imports only the library that it is named after."""
