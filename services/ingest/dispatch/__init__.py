"""Dispatch: from the intake to inbox, sockets and channels."""
