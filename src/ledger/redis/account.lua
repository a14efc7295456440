-- Accounts: one hash each, of counters and holds. One key is never in two places
-- while a cluster moves it.
--
-- A hold is one line, h:<id>, and ends (expires, or is forgotten) at the given instant:
--   D ends slots expiry (id gen time amount unit)...      booked, in flight
--   X ends 0 expiry (id gen time amount unit)...          expired: amounts are committed
--   S ends slots expiry seq applied drawn (id gen ends left unit)...   a share that a replica spends
--   Y ends expired expiry seq applied drawn (id gen ends charged unit)...   a share that expired
-- where expiry says what becomes of it then: c charge, r release. The field ends is
-- no later than the end of any hold; holds are looked through when it has come.
local KEEP = 3600000
local SKEW = 60000
local NEVER = MAX
-- Beyond so many holds they are looked through at most this often, in milliseconds.
local MANY, PAUSE = 64, 100
-- A period may yet be the present one of a budget that moved to another zone or first weekday.
local GRACE = (26 + 6 * 24) * 3600000

local function clock()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function parse(raw)
  local state, ends, slots, expiry, at = match(raw, '^(%a) (%d+) (%d+) (%a)()')
  local h = {state = state, ends = tonumber(ends), slots = tonumber(slots), expiry = expiry, charges = {}}
  if state == 'S' or state == 'Y' then
    local seq, applied, drawn, after = match(raw, '^ (%d+) (%d+) (%d+)()', at)
    h.seq, h.applied, h.drawn, at = tonumber(seq), tonumber(applied), tonumber(drawn), after
  end
  for id, gen, time, amount, unit in string.gmatch(string.sub(raw, at), ' (%x+) (%d+) (%d+) (%d+) (%a)') do
    h.charges[#h.charges + 1] =
      {id = id, gen = tonumber(gen), time = tonumber(time), amount = tonumber(amount), unit = unit}
  end
  return h
end

local function load_hold(A, id)
  local raw = call('HGET', A.key, 'h:' .. id)
  return raw and parse(raw)
end

local function save_hold(A, id, h, ends)
  h.ends = ends or h.ends
  A.ends = math.min(A.ends, h.ends)
  local w = {format('%s %d %d %s', h.state, h.ends, h.slots, h.expiry)}
  if h.seq then w[2] = format('%d %d %d', h.seq, h.applied, h.drawn) end
  for _, charge in ipairs(h.charges) do
    w[#w + 1] = format('%s %d %d %d %s', charge.id, charge.gen, charge.time, charge.amount, charge.unit)
  end
  call('HSET', A.key, 'h:' .. id, table.concat(w, ' '))
end

local function drop_hold(A, id)
  call('HDEL', A.key, 'h:' .. id)
end

local function charge_of(h, id)
  for _, charge in ipairs(h.charges) do
    if charge.id == id then return charge end
  end
end

-- Commits what a share has spent of a period, unless that period is over.
local function commit(c, charge, amount)
  if c.kind == 'F' then return false end
  if c.gen ~= charge.gen and c.ends ~= charge.time and c.ends ~= 0 then return false end
  c.changed = true
  c.committed = sum(c.committed, amount)
  c.last = math.max(c.last, math.min(c.A.now, charge.time - 1))
  return true
end

-- Ends a hold whose lease was over at an instant.
local function expire_hold(A, id, h, at)
  for _, charge in ipairs(h.charges) do
    local c, current = follow(A, charge)
    local left = charge.amount
    if h.state == 'S' then
      if c then c.changed, c.granted = true, less(c.granted, left) end
      if not c or h.expiry == 'r' then
        charge.amount = 0
      elseif c.kind == 'W' then
        add(c, at, left)
      elseif c.kind == 'F' or not commit(c, charge, left) then
        charge.amount = 0
      end
    elseif c and current then
      if h.expiry == 'r' then charge.amount = 0 end
      correct(c, {time = charge.time, amount = left}, charge.amount, true)
    end
  end
  A.inflight = less(A.inflight, h.slots)
  if h.state == 'S' then
    h.state, h.slots = 'Y', at
  else
    h.state, h.slots = 'X', 0
  end
  save_hold(A, id, h, A.now + KEEP)
end

-- Ends the holds that nobody renewed, and forgets those that ended long ago.
local function sweep(A)
  if A.now < A.ends then return end
  A.ends = NEVER
  local seen = 0
  for _, name in ipairs(call('HKEYS', A.key)) do
    if string.sub(name, 1, 2) == 'h:' then
      seen = seen + 1
      local id, raw = string.sub(name, 3), call('HGET', A.key, name)
      local state, ends = match(raw, '^(%a) (%d+)')
      ends = tonumber(ends)
      if ends > A.now then
        A.ends = math.min(A.ends, ends)
      elseif state == 'D' or state == 'S' then
        expire_hold(A, id, parse(raw), ends)
      else
        drop_hold(A, id)
      end
    end
  end
  -- Where a crash left many, each with an end of its own, they are not all looked at for each.
  if seen > MANY then A.ends = math.max(A.ends, A.now + PAUSE) end
end

-- The clock was set back: nothing happens in the future.
local function rebase(A)
  for _, id in ipairs(split(A.ids)) do
    local c = counter(A, id)
    if c.kind == 'P' then
      c.changed, c.last = true, math.min(c.last, A.now)
    elseif c.kind == 'W' then
      c.changed = true
      local late = 0
      while c.tail > c.head do
        local time, amount = entry(c, c.tail - 1)
        if time <= A.now then break end
        late, c.tail = late + amount, c.tail - 1
        drop(c, c.tail)
      end
      c.sum = c.sum - late
      add(c, A.now, late)
    end
  end
end

local function open(index, now)
  local A = {key = KEYS[index], counters = {}}
  local meta = call('HMGET', A.key, 'latest', 'inflight', 'ids', 'until', 'recall', 'ends')
  A.known = meta[1] and true or false
  A.latest, A.inflight = tonumber(meta[1] or 0), tonumber(meta[2] or 0)
  A.ids, A.keep, A.recall = meta[3] or '', tonumber(meta[4] or 0), tonumber(meta[5] or 0)
  A.ends = tonumber(meta[6] or NEVER)
  A.now = math.max(A.latest, now)
  if now + SKEW < A.latest then
    A.now = now
    rebase(A)
  end
  sweep(A)
  return A
end

local function close(A)
  local w, keep = {'latest', int(A.now), 'inflight', int(A.inflight), 'ends', int(A.ends)}, A.now + KEEP
  if A.recall > 0 then w[7], w[8] = 'recall', int(A.recall) end
  for id, c in pairs(A.counters) do
    keep = math.max(keep, A.now + (c.len or 0), c.ends and c.ends + GRACE or 0)
    if c.changed then
      w[#w + 1] = 'c:' .. id
      w[#w + 1] = text(c)
    end
  end
  -- The end of an account moves at most once an hour.
  local moved = keep > A.keep or A.now < A.latest
  if moved then
    A.keep = keep + KEEP
    w[#w + 1] = 'until'
    w[#w + 1] = int(A.keep)
  end
  call('HSET', A.key, unpack(w))
  if moved then call('PEXPIRE', A.key, int(A.keep - A.now)) end
end
