"""The suite's own filter: simple rules, as an example of one and as a default."""
