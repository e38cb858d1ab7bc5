"""What benchmarks/peers.py is made of: environments, tasks, tables.

Each family of methods has a script of its own.
"""
