"""What the suite carries, measured beside what is possible on the same machine in the same minutes."""
