"""What Redis does for a node in one step. A script that writes first looks whether the node still lives, so that
nothing is written under a name that nobody would clear away; and that nothing newer was written: what a hanging Redis
finds on connections that their clients have given up may come in any order. Keys are made in the scripts, which is
good for one Redis with its replicas, and not for a cluster."""

from __future__ import annotations

from crown.presence import PRELUDE

# What a script answers that found the node gone.
LOST = b"LOST"
# And one that came too late.
LATE = b"LATE"

_ALIVE = """
local node = ARGV[1]
local function alive(name)
  local till = redis.call('ZSCORE', NODES, name)
  return till and tonumber(till) > now
end
local function bury(name)
  redis.call('ZREM', NODES, name)
  redis.call('DEL', ORDER .. name)
  if redis.call('EXISTS', TRACKS .. name, SOCKETS .. name) > 0 then
    redis.call('ZADD', DEAD, 'NX', 0, name)
  end
end
local function refused(kind, number)
  if not alive(node) then return 'LOST' end
  if tonumber(number) <= tonumber(redis.call('HGET', ORDER .. node, kind) or 0) then return 'LATE' end
  redis.call('HSET', ORDER .. node, kind, number)
end
local function run_id()
  local told = redis.pcall('INFO', 'server')
  return type(told) == 'string' and string.match(told, 'run_id:(%x+)') or ''
end
"""

# ARGV: node, what it was called before, ms to live. Answers which run of the server it is.
BEGIN = (
    PRELUDE
    + _ALIVE
    + """
if ARGV[2] ~= '' then bury(ARGV[2]) end
redis.call('ZADD', NODES, now + ARGV[3], node)
return run_id()
"""
)

# ARGV: node, ms to live. Answers which run of the server it is.
BEAT = (
    PRELUDE
    + _ALIVE
    + """
if not alive(node) then
  bury(node)
  return 'LOST'
end
redis.call('ZADD', NODES, now + ARGV[2], node)
return run_id()
"""
)

# ARGV: node.
END = PRELUDE + _ALIVE + "bury(node)"

_CHANGE = """
local function join(topic, ref, key, record)
  if redis.call('HSETNX', TOPIC .. topic, node .. ':' .. ref, record) == 1 then
    redis.call('HINCRBY', PEOPLE .. topic, key, 1)
    redis.call('SADD', TRACKS .. node, ref .. topic)
  end
end
local function leave(topic, ref, key)
  if redis.call('HDEL', TOPIC .. topic, node .. ':' .. ref) == 1 then
    if redis.call('HINCRBY', PEOPLE .. topic, key, -1) <= 0 then redis.call('HDEL', PEOPLE .. topic, key) end
  end
  redis.call('SREM', TRACKS .. node, ref .. topic)
end
-- Whether a topic is crowded, and whether that is new.
local function standing(topic, crowd, ends)
  local count = redis.call('HLEN', TOPIC .. topic)
  local before = redis.call('SISMEMBER', CROWDED, topic) == 1
  local after = count > crowd or (before and count >= ends)
  if after ~= before then redis.call(after and 'SADD' or 'SREM', CROWDED, topic) end
  return {topic, after and 1 or 0, after ~= before and 1 or 0}
end
local function write(changes, crowd, ends)
  local topics, touched = {}, {}
  for _, change in ipairs(cmsgpack.unpack(changes)) do
    local topic, ref, key, record = change[1], change[2], change[3], change[4]
    if record == '' then leave(topic, ref, key) else join(topic, ref, key, record) end
    if not touched[topic] then
      touched[topic] = true
      topics[#topics + 1] = topic
    end
  end
  local found = {}
  for i, topic in ipairs(topics) do found[i] = standing(topic, crowd, ends) end
  return found
end
"""

# ARGV: node, number of this call, crowd, crowd_ends; topic, ref, key, record of each change, no record where it left.
# Answers topic, crowded, turned for each topic. What is many comes packed as one argument, since the client takes
# its time over each.
WRITE = (
    PRELUDE
    + _ALIVE
    + _CHANGE
    + """
local why = refused('tracks', ARGV[2])
if why then return why end
return write(ARGV[5], tonumber(ARGV[3]), tonumber(ARGV[4]))
"""
)

# ARGV: dead node, crowd, crowd_ends, ms to hold it; changes as above.
BURY = (
    PRELUDE
    + _ALIVE
    + _CHANGE
    + """
redis.call('ZADD', DEAD, 'XX', now + ARGV[4], node)
return write(ARGV[5], tonumber(ARGV[2]), tonumber(ARGV[3]))
"""
)

# ARGV: node, number of this call, second, seconds to keep; packed user, socket, opened of each. Answers the number of
# sockets of each.
SEAT = (
    PRELUDE
    + _ALIVE
    + """
local why = refused('sockets', ARGV[2])
if why then return why end
local lives, found = living(), {}
for _, seat in ipairs(cmsgpack.unpack(ARGV[5])) do
  local user, socket = seat[1], seat[2]
  if seat[3] then
    redis.call('HSET', USER .. user, node .. ':' .. socket, '')
    redis.call('SADD', SOCKETS .. node, socket .. ' ' .. user)
  else
    redis.call('HDEL', USER .. user, node .. ':' .. socket)
    redis.call('SREM', SOCKETS .. node, socket .. ' ' .. user)
  end
  redis.call('SET', ACTIVE .. user, ARGV[3], 'EX', ARGV[4])
  found[#found + 1] = sockets_of(user, lives)
end
return found
"""
)

# ARGV: second, seconds to keep, then user ids.
TOUCH = (
    PRELUDE
    + """
for i = 3, #ARGV do redis.call('SET', ACTIVE .. ARGV[i], ARGV[1], 'EX', ARGV[2]) end
"""
)

# ARGV: node, crowd, then topics. Answers crowded, people, records of others that live.
VIEWS = (
    PRELUDE
    + """
local lives, found = living(), {}
lives[ARGV[1]] = nil
for i = 3, #ARGV do
  local topic, records = ARGV[i], {}
  -- A hash that is too large is never read, whatever the set says.
  if redis.call('SISMEMBER', CROWDED, topic) == 1 or redis.call('HLEN', TOPIC .. topic) > 2 * ARGV[2] then
    found[#found + 1] = {1, redis.call('HLEN', PEOPLE .. topic), records}
  else
    local fields = redis.call('HGETALL', TOPIC .. topic)
    for j = 1, #fields, 2 do
      if lives[node_of(fields[j])] then records[#records + 1] = fields[j + 1] end
    end
    found[#found + 1] = {0, 0, records}
  end
end
return found
"""
)

# ARGV: ms between two tellings, then topics. Answers people of each; -1 where it is not crowded, -2 where it was
# told a moment ago.
COUNTS = (
    PRELUDE
    + """
local found = {}
for i = 2, #ARGV do
  local topic = ARGV[i]
  if redis.call('SISMEMBER', CROWDED, topic) == 0 then
    found[#found + 1] = -1
  elseif redis.call('SET', COUNTED .. topic, '', 'NX', 'PX', ARGV[1]) then
    found[#found + 1] = redis.call('HLEN', PEOPLE .. topic)
  else
    found[#found + 1] = -2
  end
end
return found
"""
)

# ARGV: ms to hold it. Answers a dead node, or nothing.
CLAIM = (
    PRELUDE
    + _ALIVE
    + """
for _, name in ipairs(redis.call('ZRANGE', NODES, '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)) do bury(name) end
local free = redis.call('ZRANGE', DEAD, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if not free then return '' end
redis.call('ZADD', DEAD, now + ARGV[1], free)
return free
"""
)

# ARGV: dead node, the most. Answers topic, ref, record, crowded of some of its channels.
REMAINS = (
    PRELUDE
    + """
local found = {}
for _, track in ipairs(redis.call('SRANDMEMBER', TRACKS .. ARGV[1], ARGV[2])) do
  local ref, topic = string.sub(track, 1, 16), string.sub(track, 17)
  local record = redis.call('HGET', TOPIC .. topic, ARGV[1] .. ':' .. ref)
  found[#found + 1] = {topic, ref, record or '', redis.call('SISMEMBER', CROWDED, topic)}
end
return found
"""
)

# ARGV: dead node, the most, ms to hold it. Takes some of its sockets away; answers whether there may be more.
UNSEAT = (
    PRELUDE
    + """
local node = ARGV[1]
local some = redis.call('SPOP', SOCKETS .. node, ARGV[2])
for _, socket in ipairs(some) do
  local id, user = string.match(socket, '^(%S*) (.*)$')
  redis.call('HDEL', USER .. user, node .. ':' .. id)
end
if #some > 0 then
  redis.call('ZADD', DEAD, 'XX', now + ARGV[3], node)
  return 1
end
redis.call('ZREM', DEAD, node)
return 0
"""
)
