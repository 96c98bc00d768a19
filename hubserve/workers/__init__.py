"""Programs that the service starts by name, each in a process of its own, because they need torch."""
