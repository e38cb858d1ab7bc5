"""Long work that resumes: jobs, executors, targets, logs.

Imports store and what it stands on.
"""
