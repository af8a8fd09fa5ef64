"""Dead letters: from the bus into the store, what operators see of them, and replays."""
