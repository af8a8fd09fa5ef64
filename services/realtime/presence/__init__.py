"""Who is here, over all nodes: tracker.py is what this node does, board.py the seam to what nodes share."""
