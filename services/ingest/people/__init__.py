"""All that is held about one person: erased, or exported."""
