"""The inbox: what a person has been sent, and what they have done with it."""
