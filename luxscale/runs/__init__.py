"""Long work that resumes: jobs, executors, targets, logs."""
