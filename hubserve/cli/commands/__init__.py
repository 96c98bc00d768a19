"""The commands: one module a subject, each with the options and the output of its commands and nothing else."""
