"""What the `crown` command does beside running the stack: a module or two each."""
