"""Contains the routes of the service: one module for each group of paths, such as `jobs` for /jobs."""
