"""An AI service that tells a notification suite what is worth somebody's attention."""
