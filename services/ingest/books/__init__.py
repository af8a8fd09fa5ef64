"""The books: outcomes and callbacks into ledger and timelines, and what keeps ledger and streams in order."""
