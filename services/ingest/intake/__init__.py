"""Taking notifications in: from a call to what is on disk."""
