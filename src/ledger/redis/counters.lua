-- Counters of one account: sliding windows (W), calendar periods (P), requests
-- in flight (F), and where the count of a renamed counter went (M).
--
-- The same arithmetic as src/ledger/window.rs, tally.rs and slot.rs, on one hash
-- per account. A window's log lies in fields e:<id>:<n>, head <= n < tail, sorted
-- by time; an entry of 0 is a hole that is dropped when it comes to the head.
-- Amounts are integers up to 2^53 - 1, which a Lua number holds exactly.
local call = redis.call
local MAX = 9007199254740991
local ENTRIES, CELLS = 512, 256

local format, match = string.format, string.match
local function int(n) return format('%d', n) end
local function sum(a, b) return math.min(a + b, MAX) end
local function less(a, b) return math.max(a - b, 0) end

local function split(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  return words
end

local function field(c, n) return format('e:%s:%d', c.id, n) end

local function entry(c, n)
  local time, amount = match(call('HGET', c.A.key, field(c, n)) or '0 0', '^(%d+) (%d+)')
  return tonumber(time), tonumber(amount)
end

local function put(c, n, time, amount)
  call('HSET', c.A.key, field(c, n), format('%d %d', time, amount))
end

-- All entries that are no holes, oldest first.
local function entries(c)
  local found, names = {}, {}
  for n = c.head, c.tail - 1 do names[#names + 1] = field(c, n) end
  if #names == 0 then return found end
  for i, raw in ipairs(call('HMGET', c.A.key, unpack(names))) do
    local time, amount = string.match(raw or '0 0', '(%d+) (%d+)')
    if tonumber(amount) > 0 then
      found[#found + 1] = {n = c.head + i - 1, time = tonumber(time), amount = tonumber(amount)}
    end
  end
  return found
end

local function drop(c, n) call('HDEL', c.A.key, field(c, n)) end

local function trim(c)
  while c.tail > c.head do
    local _, amount = entry(c, c.tail - 1)
    if amount > 0 then return end
    c.tail = c.tail - 1
    drop(c, c.tail)
  end
end

-- When the first entry was made; nil when there is none.
local function oldest(c)
  for n = c.head, c.tail - 1 do
    local time, amount = entry(c, n)
    if amount > 0 then return time end
  end
end

-- Lets go of what has left the window.
local function expire(c)
  c.changed = true
  while c.head < c.tail do
    local time, amount = entry(c, c.head)
    if amount > 0 and time + c.len > c.A.now then return end
    c.sum = c.sum - amount
    drop(c, c.head)
    c.head = c.head + 1
  end
end

-- A grid that does not move with the entries: merging twice moves nothing further.
local function merge(c)
  local cell, merged = math.ceil(c.len / CELLS), {}
  for _, e in ipairs(entries(c)) do
    local last = merged[#merged]
    if last and math.floor(last.time / cell) == math.floor(e.time / cell) then
      last.time, last.amount = e.time, last.amount + e.amount
    else
      merged[#merged + 1] = e
    end
  end
  for n = c.head, c.tail - 1 do drop(c, n) end
  c.head, c.tail = 0, #merged
  for n, e in ipairs(merged) do put(c, n - 1, e.time, e.amount) end
end

-- Books an amount at an instant, or at the latest entry's if that is later.
local function add(c, at, amount)
  amount = math.min(amount, MAX - c.sum)
  if amount <= 0 then return end
  c.changed = true
  c.sum = c.sum + amount
  if c.tail > c.head then
    local time, before = entry(c, c.tail - 1)
    if time >= at then
      put(c, c.tail - 1, time, before + amount)
      return
    end
  end
  put(c, c.tail, at, amount)
  c.tail = c.tail + 1
  if c.tail - c.head > ENTRIES then merge(c) end
end

-- The first entry at or after an instant, or the last one.
local function holder(c, at)
  local low, high = c.head, c.tail - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if entry(c, middle) < at then low = middle + 1 else high = middle end
  end
  -- The last entry is no hole.
  while low < c.tail - 1 do
    local _, amount = entry(c, low)
    if amount > 0 then break end
    low = low + 1
  end
  return low
end

-- Takes back up to an amount of what was booked at an instant; returns how much.
local function take(c, at, amount)
  if amount <= 0 or at + c.len <= c.A.now or c.head >= c.tail then return 0 end
  local n = holder(c, at)
  local time, booked = entry(c, n)
  amount = math.min(amount, booked)
  c.changed = true
  c.sum = c.sum - amount
  put(c, n, time, booked - amount)
  trim(c)
  return amount
end

-- Milliseconds until so much has left, not counting what is one's own.
local function wait(c, needed, own, now)
  local freed = 0
  -- Little is needed as a rule, and leaves soon.
  if #own == 0 then
    for n = c.head, c.tail - 1 do
      local time, amount = entry(c, n)
      freed = freed + amount
      if freed >= needed then return less(time + c.len, now) end
    end
    return c.len
  end
  local all, from = entries(c), 1
  local mine = {}
  table.sort(own, function(a, b) return a.time < b.time end)
  -- Merging only moves amounts to later times.
  for _, charge in ipairs(own) do
    while from < #all and all[from].time < charge.time do from = from + 1 end
    mine[from] = (mine[from] or 0) + charge.amount
  end
  for i, e in ipairs(all) do
    freed = freed + less(e.amount, mine[i] or 0)
    if freed >= needed then return less(e.time + c.len, now) end
  end
  return c.len
end

-- Puts all entries anew; several counters may have become one.
local function rewrite(c, all)
  for n = c.head, c.tail - 1 do drop(c, n) end
  table.sort(all, function(a, b) return a.time < b.time end)
  c.head, c.tail, c.sum, c.changed = 0, 0, 0, true
  for _, e in ipairs(all) do
    local last = c.tail > 0 and entry(c, c.tail - 1)
    if last ~= e.time then
      put(c, c.tail, e.time, e.amount)
      c.tail = c.tail + 1
    else
      local _, before = entry(c, c.tail - 1)
      put(c, c.tail - 1, e.time, before + e.amount)
    end
    c.sum = c.sum + e.amount
  end
  if c.tail - c.head > ENTRIES then merge(c) end
end

-- Books an amount at an instant that may be past, late by less than a cell.
local function insert(c, at, amount)
  amount = math.min(amount, MAX - c.sum)
  if amount <= 0 or at + c.len <= c.A.now then return end
  local latest = c.tail > c.head and entry(c, c.tail - 1)
  if not latest or latest <= at then return add(c, at, amount) end
  local n = holder(c, at)
  local time, booked = entry(c, n)
  if time - at < c.len / CELLS then
    c.changed, c.sum = true, c.sum + amount
    put(c, n, time, booked + amount)
  else
    local all = entries(c)
    all[#all + 1] = {time = at, amount = amount}
    rewrite(c, all)
  end
end

local function counter(A, id)
  local c = A.counters[id]
  if c ~= nil then return c end
  local raw = call('HGET', A.key, 'c:' .. id)
  if not raw then return nil end
  local kind, gen, a, b, d, e, f = match(raw, '^(%a) (%d+) (%w+) ?(%d*) ?(%d*) ?(%d*) ?(%d*)')
  c = {kind = kind, gen = tonumber(gen)}
  if kind == 'M' then
    c.into, c.now = a, tonumber(b)
  else
    c.granted = tonumber(a)
    if kind == 'W' then
      c.len, c.sum, c.head, c.tail = tonumber(b), tonumber(d), tonumber(e), tonumber(f)
    elseif kind == 'P' then
      c.committed, c.held, c.last, c.ends = tonumber(b), tonumber(d), tonumber(e), tonumber(f)
    else
      c.held = tonumber(b)
    end
  end
  c.A, c.id = A, id
  A.counters[id] = c
  return c
end

local function text(c)
  if c.kind == 'W' then
    return format('W %d %d %d %d %d %d', c.gen, c.granted, c.len, c.sum, c.head, c.tail)
  elseif c.kind == 'P' then
    return format('P %d %d %d %d %d %d', c.gen, c.granted, c.committed, c.held, c.last, c.ends)
  elseif c.kind == 'F' then
    return format('F %d %d %d', c.gen, c.granted, c.held)
  end
  return format('M %d %s %d', c.gen, c.into, c.now)
end

-- The counter that has a charge now, and whether it still counts there. Each generation
-- that was left says where it went; nil when there is no such counter any more.
local function follow(A, charge)
  local id, gen = charge.id, charge.gen
  while true do
    local c = counter(A, id)
    if c and c.kind ~= 'M' and c.gen == gen then return c, true end
    local moved = call('HGET', A.key, 'm:' .. id .. ':' .. int(gen))
    if not moved then
      while c and c.kind == 'M' do c = counter(A, c.into) end
      return c, false
    end
    local into, now = match(moved, '(%S+) (%d+)')
    id, gen = into, tonumber(now)
  end
end

local function clear(c)
  -- Requests in flight stay in flight.
  if c.kind == 'M' or c.kind == 'F' then return end
  c.changed = true
  c.gen = c.gen + 1
  if c.kind == 'W' then
    for n = c.head, c.tail - 1 do drop(c, n) end
    c.sum, c.head, c.tail = 0, 0, 0
  else
    c.committed, c.held, c.last, c.ends = 0, 0, 0, 0
  end
end

local function used(c)
  if c.kind == 'W' then return sum(c.sum, c.granted) end
  if c.kind == 'F' then return sum(c.held, c.granted) end
  return sum(sum(c.committed, c.held), c.granted)
end

local function begin(c, limit)
  if c.kind == 'W' then
    expire(c)
  elseif c.kind == 'P' then
    c.changed, c.ends = true, limit.ends
    -- What shares hold is in no period: they end with theirs, and give it back.
    if c.last < limit.start then
      c.committed, c.held, c.last, c.gen = 0, 0, limit.start, c.gen + 1
    end
  end
  return c
end

local function make(limit)
  local A = limit.A
  local c = {A = A, id = limit.id, kind = limit.kind, gen = 0, granted = 0, held = 0, changed = true}
  if c.kind == 'W' then
    c.len, c.sum, c.head, c.tail = limit.start, 0, 0, 0
  elseif c.kind == 'P' then
    c.committed, c.last, c.ends = 0, 0, 0
  end
  -- A counter that was left and comes back goes on where its holds look for it.
  local left = counter(A, limit.id)
  if left then c.gen = left.gen + 1 end
  A.counters[limit.id] = c
  A.ids = left and A.ids or A.ids .. limit.id .. ' '
  call('HSET', A.key, 'n:' .. limit.id, limit.name, 'ids', A.ids)
  return c
end

-- Takes in the count under a former name, if it has the same span.
local function adopt(limit, former)
  local from, into = counter(limit.A, former), counter(limit.A, limit.id)
  if not from or from.kind ~= limit.kind or (from.kind == 'W' and from.len ~= limit.start) then return end
  begin(from, limit)
  into = begin(into and into.kind ~= 'M' and into or make(limit), limit)
  into.granted, into.changed = into.granted + from.granted, true
  if from.kind == 'W' then
    local all = entries(into)
    for _, e in ipairs(entries(from)) do all[#all + 1] = e end
    for n = from.head, from.tail - 1 do drop(from, n) end
    rewrite(into, all)
  else
    into.held = sum(into.held, from.held)
    if from.kind == 'P' then
      into.committed = sum(into.committed, from.committed)
      into.last = math.max(into.last, from.last)
    end
  end
  call('HSET', limit.A.key, 'm:' .. from.id .. ':' .. int(from.gen), into.id .. ' ' .. int(into.gen))
  from.kind, from.into, from.now, from.changed = 'M', into.id, into.gen, true
end

-- The counter of a limit, made where it was missing and brought to the present.
local function enter(limit)
  for _, former in ipairs(split(limit.former)) do adopt(limit, former) end
  local c = counter(limit.A, limit.id)
  return begin(c and c.kind ~= 'M' and c or make(limit), limit)
end

local function book(c, amount)
  -- What a request comes to later belongs to this count, wherever an edit moves the boundary.
  if c.kind == 'P' then c.changed, c.last = true, math.max(c.last, c.A.now) end
  if amount == 0 then return end
  if c.kind == 'W' then
    add(c, c.A.now, amount)
    return
  end
  c.changed, c.held = true, sum(c.held, amount)
end

-- Whether what is booked now may join a charge instead of standing beside it.
local function joins(c, charge)
  if charge.gen ~= c.gen then return false end
  local piece = c.kind == 'W' and math.ceil(c.len / 16)
  return not piece or math.floor(charge.time / piece) == math.floor(c.A.now / piece)
end

-- Replaces a charge, still held or already committed, by what it came to.
local function correct(c, charge, actual, held)
  c.changed = true
  if c.kind == 'W' then
    expire(c)
    if actual < charge.amount then
      take(c, charge.time, charge.amount - actual)
    else
      add(c, c.A.now, actual - charge.amount)
    end
    return
  end
  if c.kind == 'F' then
    if held then c.held = less(c.held, charge.amount) end
    return
  end
  if held then
    c.held, c.committed = less(c.held, charge.amount), sum(c.committed, actual)
  else
    c.committed = sum(less(c.committed, charge.amount), actual)
  end
  c.last = math.max(c.last, charge.time)
end
