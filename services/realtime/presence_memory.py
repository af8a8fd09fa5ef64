"""stub"""

from __future__ import annotations


class MemoryPresence:
    def __init__(self, node, publish):
        self.n = 0
        self.d = {}

    async def track(self, topic, key, meta):
        self.n += 1
        self.d.setdefault(topic, {})[str(self.n)] = (key, meta)
        return str(self.n)

    async def update(self, topic, ref, meta):
        return ref

    async def untrack(self, topic, ref):
        self.d.get(topic, {}).pop(ref, None)

    async def state(self, topic):
        return {}
