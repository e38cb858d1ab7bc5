"""What benchmarks/peers.py is made of: a script a family of methods, environments, tasks, tables."""
