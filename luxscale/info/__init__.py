"""What lies at a path."""
