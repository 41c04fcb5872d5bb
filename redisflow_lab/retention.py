"""Retention: remove the old entries of a stream, but none that is pending.

XACK removes nothing from a stream, and XTRIM asks no group: it removes what is pending, too,
and what a group has not read. `trim` does not remove what is pending, unless it is told to.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError

from redisflow_lab._internal.checks import check_client, check_entry_id, check_name
from redisflow_lab._internal.connection import on_slot
from redisflow_lab._internal.printable import printable
from redisflow_lab._internal.scripts import ScriptRefusedError, run_script

_COUNTED = 100
"""So many entries are looked through at once for `maxlen`, with what they contain."""

# Looks at each group and trims in one step: in two, an entry could be delivered in between.
# Ids are compared as texts of one length, because a number in Lua is exact to 2^53 only.
# ARGV: how the limit is given, the limit itself, 1 if pending entries may be removed, and how
# many entries are looked through.
_TRIM = """
local how, limit, even_pending, counted = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local function padded(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end
local function earlier(one, other)
  if one and other then return padded(one) < padded(other) and one or other end
  return one or other
end
local function after(id)
  local ms, seq = string.match(id, '^(%d+)%-(%d+)$')
  if tonumber(seq) >= 2^53 then return id end  -- keeps this one entry
  return ms .. '-' .. string.format('%d', tonumber(seq) + 1)
end

local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then return {0, 0, 0, ''} end
first = first[1]
local names, pending, finished, slowest = {}, nil, nil, ''
local holder = ''  -- the group of the oldest pending entry
for i, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for j = 1, #group, 2 do of[group[j]] = group[j + 1] end
  names[i] = of['name']
  -- Entries that were trimmed may be pending still: they are before the first one.
  local oldest = redis.call('XPENDING', KEYS[1], names[i], first, '+', 1)[1]
  oldest = oldest and oldest[1]
  if oldest and earlier(pending, oldest) ~= pending then pending, holder = oldest, names[i] end
  local done = oldest or after(of['last-delivered-id'])
  if earlier(finished, done) ~= finished then finished, slowest = done, names[i] end
end

if how == 'acknowledged' then
  limit = finished or '0-0'
elseif how == 'older' then
  local now = redis.call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000) - limit
  limit = string.format('%d', math.max(ms, 0)) .. '-0'
elseif how == 'maxlen' then
  local excess = redis.call('XLEN', KEYS[1]) - limit
  if excess <= 0 then return {0, 0, 0, ''} end
  local count = math.min(excess, counted) + 1
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', count)
  limit = oldest[count] and oldest[count][1] or after(oldest[#oldest][1])
end

local wanted, lost = limit, 0
if not even_pending then
  limit = earlier(pending, limit)
else
  for _, name in ipairs(names) do
    local from = first
    while true do
      local rows = redis.call('XPENDING', KEYS[1], name, from, '(' .. limit, 1000)
      for _, row in ipairs(rows) do
        lost = lost + #redis.call('XRANGE', KEYS[1], row[1], row[1])
      end
      if #rows < 1000 then break end
      from = '(' .. rows[#rows][1]
    end
  end
end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', limit)
if how == 'acknowledged' then
  return {removed, lost, 0, redis.call('XLEN', KEYS[1]) > 0 and slowest or ''}
end
if wanted == limit then return {removed, lost, 0, ''} end
return {removed, lost, 1, holder}
"""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What `trim` has done.

    removed: how many entries it removed
    pending: how many times one of them was pending in a group; 0 unless `even_pending`
    held_by_pending: whether the oldest pending entry kept it from removing more
    held_by: the group that kept it from removing more, by what is pending with it or, for
             `acknowledged`, by what it has not read; empty if none did
    """

    removed: int
    pending: int
    held_by_pending: bool
    held_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What a producer removes from its stream, from time to time. Give one of the first two.

    older_than_s: entries that were written longer ago, in seconds
    acknowledged: what each group has acknowledged
    every_s:      how often to trim, in seconds: with a write, if it is time (default: 10)

    Both are explained at `trim`. Neither removes what is pending.
    """

    older_than_s: float | None = None
    acknowledged: bool = False
    every_s: float = 10.0

    def __post_init__(self) -> None:
        _limit(
            None, None, self.older_than_s, acknowledged=self.acknowledged, even_pending=False
        )
        _check_not_negative("every_s", self.every_s)


def trim(
    redis: Redis | RedisCluster,
    stream: str,
    *,
    maxlen: int | None = None,
    minid: str | None = None,
    older_than_s: float | None = None,
    acknowledged: bool = False,
    even_pending: bool = False,
) -> Trimmed:
    """Remove the oldest entries of a stream, up to a limit, in steps that are atomic.

    Give one limit:

    maxlen:       keep so many entries
    minid:        remove entries whose id is lower than this one
    older_than_s: remove entries that were written longer ago, in seconds, by the clock of the
                  server; their ids say when, unless the producer chose them
    acknowledged: remove what each group has acknowledged, up to the oldest entry that one of
                  them has not. Nothing if there is no group

    No entry is removed that is pending in a group, and none after it: trimming is from the
    oldest on. With `even_pending`, pending entries are removed as well; a consumer then
    dead-letters them as trimmed. What a group has not *read* yet is removed with any limit but
    `acknowledged`: it is for you to know how long the slowest group may take.

    The stream may be a dead-letter stream. A stream that does not exist has nothing to remove.

    Raises ValueError unless one limit is given, and NoPermissionError if the user may not run
    EVAL, XINFO GROUPS, XPENDING, XTRIM, XLEN and XRANGE.
    https://redis.io/docs/latest/commands/xtrim/
    """
    check_client(redis)
    key = check_name("stream", stream)
    how, limit = _limit(
        maxlen, minid, older_than_s, acknowledged=acknowledged, even_pending=even_pending
    )
    with on_slot(redis, key) as client:
        step = partial(_trim_once, client, key, how, limit, int(even_pending))
        return _all_of(step) if how == "maxlen" else step()


def _trim_once(redis: Redis, key: str, *arguments: Any) -> Trimmed:
    try:
        reply = run_script(redis, _TRIM, [key], *arguments, _COUNTED)
    except ScriptRefusedError as error:
        raise NoPermissionError(
            f"{printable(key)} cannot be trimmed: this user may not run the script: "
            f"{error}. Allow EVAL, XINFO GROUPS, XPENDING, XTRIM, XLEN and XRANGE"
        ) from None
    removed, pending, is_held, group = reply
    name = group if isinstance(group, str) else group.decode(errors="backslashreplace")
    return Trimmed(removed, pending, bool(is_held), name)


def _all_of(step: Callable[[], Trimmed]) -> Trimmed:
    """The steps that `maxlen` needs, together: each looks through some entries."""
    removed, pending = 0, 0
    while True:
        done = step()
        removed, pending = removed + done.removed, pending + done.pending
        if done.held_by_pending or not done.removed:
            return replace(done, removed=removed, pending=pending)


def _limit(
    maxlen: int | None,
    minid: str | None,
    older_than_s: float | None,
    *,
    acknowledged: bool,
    even_pending: bool,
) -> tuple[str, Any]:
    """How the limit is given to the script, and the limit."""
    given: dict[str, Any] = {
        "maxlen": maxlen,
        "minid": minid,
        "older_than_s": older_than_s,
        "acknowledged": acknowledged or None,
    }
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        raise ValueError(
            f"give one of {', '.join(given)}, not {' and '.join(named) or 'none of them'}"
        )
    if acknowledged and even_pending:
        raise ValueError(
            "what is pending is not acknowledged: even_pending needs another limit"
        )
    if maxlen is not None:
        return "maxlen", _check_not_negative("maxlen", maxlen)
    if minid is not None:
        return "minid", check_entry_id("minid", minid)
    if older_than_s is not None:
        return "older", int(1_000 * _check_not_negative("older_than_s", older_than_s))
    return "acknowledged", ""


def _check_not_negative(what: str, value: float) -> float:
    if not 0 <= value < 2**53:
        raise ValueError(f"{what} must be 0 or more, not {value}")
    return value
