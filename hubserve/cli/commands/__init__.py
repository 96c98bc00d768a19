"""The commands of the command line, grouped in modules by subject, with their options and their output."""
