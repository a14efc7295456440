-- What replicas ask for. KEYS: one per account; ARGV: command, instant or '', then its own.
local now = tonumber(ARGV[2]) or clock()
local commands = {}

local function accounts()
  local all = {}
  for i = 1, #KEYS do all[i] = open(i, now) end
  return all
end

local function close_all(all)
  for _, A in ipairs(all) do close(A) end
end

-- Reads limits from ARGV: account, kind, id, amount, limit, length or start, end or 0, former, name.
local function limits(all, from, count)
  local read, instant = {}, nil
  for i = 1, count do
    local at = from + (i - 1) * 9
    local limit = {A = all[tonumber(ARGV[at])], kind = ARGV[at + 1], id = ARGV[at + 2],
      amount = tonumber(ARGV[at + 3]), limit = tonumber(ARGV[at + 4]), start = tonumber(ARGV[at + 5]),
      ends = tonumber(ARGV[at + 6]), former = ARGV[at + 7], name = ARGV[at + 8]}
    limit.unit = string.sub(limit.name, 1, 1)
    -- The replica computed the period for another instant than this one.
    if limit.kind == 'P' and (limit.A.now < limit.start or limit.A.now >= limit.ends) then
      instant = instant or limit.A.now
    end
    read[i] = limit
  end
  if instant then
    close_all(all)
    return nil, instant
  end
  return read
end

local function has(limit, charge)
  return charge.id == limit.id or string.find(limit.former, charge.id, 1, true) ~= nil
end

-- What a hold has booked for a limit, and the last charge of it.
local function booked(limit, charges)
  local total, last = 0, nil
  for i, charge in ipairs(charges) do
    if has(limit, charge) then total, last = total + charge.amount, i end
  end
  return total, last
end

-- How long a limit has no room for an amount, beside the charges of one's own.
local function shortfall(limit, charges, amount)
  local c = limit.c
  local wanted = used(c) + amount
  if amount == 0 or wanted <= limit.limit then return nil end
  -- Shares come back soon: only what is spent is waited for.
  if c.granted > 0 then
    c.A.recall = now
    wanted = wanted - c.granted
    if wanted <= limit.limit then return 1000 end
  end
  if c.kind == 'F' then return 1000 end
  if c.kind == 'P' then return less(c.ends, c.A.now) end
  local own = {}
  for _, charge in ipairs(charges) do
    if has(limit, charge) and charge.time + c.len > c.A.now then own[#own + 1] = charge end
  end
  return wait(c, wanted - limit.limit, own, c.A.now)
end

local function states(read, reply)
  for _, limit in ipairs(read) do
    local c = limit.c
    reply[#reply + 1] = used(c)
    if c.kind == 'W' then
      local first = oldest(c)
      reply[#reply + 1] = first and less(first + c.len, now) or 0
    else
      reply[#reply + 1] = c.ends and less(c.ends, now) or 0
    end
  end
  return reply
end

-- Finds the limit that matters most: its position, milliseconds, and whether it never fits.
local function verdict(read, holds, crowded)
  local position, longest, never = -2, 0, false
  if crowded then position, longest = -1, 1000 end
  for _, limit in ipairs(read) do limit.c = enter(limit) end
  for i, limit in ipairs(read) do
    local charges = holds and holds[limit.A].charges or {}
    local ms = shortfall(limit, charges, less(limit.amount, booked(limit, charges)))
    if ms then
      ms = ms + limit.A.now - math.min(now, limit.A.now)
      local graver = limit.amount > limit.limit
      if position == -2 or (graver and not never) or (graver == never and ms > longest) then
        position, longest, never = i - 1, ms, graver
      end
    end
  end
  return position, longest, never and 1 or 0
end

-- Books what a hold has not yet, and keeps the hold.
local function book_all(all, read, id, holds, ends)
  for _, A in ipairs(all) do
    local h = holds[A]
    for _, limit in ipairs(read) do
      if limit.A == A then
        -- Two limits on one counter bound the same count; it counts once.
        local had, known = booked(limit, h.charges)
        local c, amount = limit.c, less(limit.amount, had)
        if amount > 0 or not known then
          local charge = {id = c.id, gen = c.gen, time = A.now, amount = amount, unit = limit.unit}
          local before = known and joins(c, h.charges[known]) and h.charges[known]
          if before then
            local more = amount
            if c.kind == 'W' then more = more + take(c, before.time, before.amount) end
            charge.amount = amount + before.amount
            book(c, more)
            h.charges[known] = charge
          else
            book(c, amount)
            h.charges[#h.charges + 1] = charge
          end
        end
      end
    end
    save_hold(A, id, h, ends and A.now + ends)
  end
end

-- How many requests like this one may be drawn at once, this one included.
local function share_of(read, most, percent, factor, crowd, A)
  if crowd > 0 then
    if crowd < 50 then return 1 end
    most = math.min(most, math.floor(crowd * percent / 100), math.floor((crowd - A.inflight) / factor))
  end
  for _, limit in ipairs(read) do
    if limit.amount > 0 then
      if limit.limit < 50 * limit.amount then return 1 end
      local room = math.min(limit.limit * percent / 100, (limit.limit - used(limit.c)) / factor)
      most = math.min(most, math.floor(room / limit.amount))
    end
  end
  return math.max(most, 1)
end

local function draw(all, read, id, slots, times, lease, expiry)
  for _, limit in ipairs(read) do
    if limit.kind == 'P' then lease = math.min(lease, limit.ends - limit.A.now) end
  end
  for i, A in ipairs(all) do
    local h = {state = 'S', slots = 0, expiry = expiry, seq = 0, applied = A.now, drawn = now, charges = {}}
    if i == 1 then h.slots = slots * times end
    A.inflight = A.inflight + h.slots
    for _, limit in ipairs(read) do
      if limit.A == A and limit.amount > 0 and not charge_of(h, limit.c.id) then
        local c, amount = limit.c, limit.amount * times
        c.changed, c.granted = true, c.granted + amount
        h.charges[#h.charges + 1] = {id = c.id, gen = c.gen, time = c.ends or 0, amount = amount, unit = limit.unit}
      end
    end
    save_hold(A, id, h, A.now + lease)
  end
  return lease
end

local function hold(all, read, id, slots, lease, expiry)
  local holds = {}
  for i, A in ipairs(all) do
    holds[A] = {state = 'D', slots = i == 1 and slots or 0, expiry = expiry, charges = {}}
    A.inflight = A.inflight + holds[A].slots
  end
  book_all(all, read, id, holds, lease)
end

-- id not_after lease expiry enforce slots crowd most share_lease percent factor count limits...
function commands.reserve()
  local id, lease, expiry = ARGV[3], tonumber(ARGV[5]), ARGV[6]
  -- Whoever asked has given up: booking now would help nobody.
  if now > (tonumber(ARGV[4]) or now) then return {3, now} end
  local slots, crowd, most = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  local all = accounts()
  local read, instant = limits(all, 15, tonumber(ARGV[14]))
  if not read then return {2, instant} end
  local crowded = slots > 0 and crowd > 0 and all[1].inflight >= crowd
  if crowded then all[1].recall = now end
  local position, ms, never = verdict(read, nil, crowded)
  if position ~= -2 and ARGV[7] == '1' then
    close_all(all)
    return states(read, {0, now, position, ms, never, 0, 0})
  end
  local times = 1
  if most > 1 and position == -2 then
    times = share_of(read, most, tonumber(ARGV[12]), tonumber(ARGV[13]), slots > 0 and crowd or 0, all[1])
  end
  if times > 1 then
    lease = draw(all, read, id, slots, times, tonumber(ARGV[11]), expiry)
  else
    hold(all, read, id, slots, lease, expiry)
  end
  close_all(all)
  return states(read, {1, now, position, ms, never, times, lease})
end

-- id not_after enforce count limits...
function commands.raise()
  local id = ARGV[3]
  if now > (tonumber(ARGV[4]) or now) then return {3, now} end
  local all = accounts()
  local read, instant = limits(all, 7, tonumber(ARGV[6]))
  if not read then return {2, instant} end
  local holds = {}
  for _, A in ipairs(all) do
    holds[A] = load_hold(A, id)
    if not holds[A] or holds[A].state ~= 'D' then
      close_all(all)
      return {4, now}
    end
  end
  local position, ms, never = verdict(read, holds, false)
  local refused = position ~= -2 and ARGV[5] == '1'
  if not refused then book_all(all, read, id, holds) end
  close_all(all)
  return states(read, {refused and 0 or 1, now, position, ms, never, 1, 0})
end

-- id requests tokens bytes nano_usd: once; a hold that is not there was settled before.
function commands.settle()
  local id, all, found = ARGV[3], accounts(), 0
  local truth = {r = tonumber(ARGV[4]), t = tonumber(ARGV[5]), b = tonumber(ARGV[6]), n = tonumber(ARGV[7])}
  for _, A in ipairs(all) do
    local h = load_hold(A, id)
    if h and (h.state == 'D' or h.state == 'X') then
      found = 1
      A.inflight = less(A.inflight, h.slots)
      local given, last, of = {}, {}, {}
      for i, charge in ipairs(h.charges) do
        local c = follow(A, charge)
        of[i] = c and c.id or charge.id
        last[of[i]] = i
      end
      -- The truth fills the charges of a counter in the order of their booking; the last has the rest.
      for i, charge in ipairs(h.charges) do
        local key = of[i]
        local rest = less(truth[charge.unit], given[key] or 0)
        local actual = last[key] == i and rest or math.min(rest, charge.amount)
        given[key] = (given[key] or 0) + charge.amount
        local c, current = follow(A, charge)
        if c and current then correct(c, charge, actual, h.state == 'D') end
      end
      drop_hold(A, id)
    elseif h and h.state == 'S' and h.seq == 0 then
      -- Whoever drew it never heard of it.
      found = 1
      A.inflight = less(A.inflight, h.slots)
      for _, charge in ipairs(h.charges) do
        local c = follow(A, charge)
        if c then c.changed, c.granted = true, less(c.granted, charge.amount) end
      end
      drop_hold(A, id)
    end
    if A.known then close(A) end
  end
  return {found, now}
end

-- journal first last count (kind id start end deed at amount name)...: one run of a journal, once. Where
-- a part of the run was heard before, nothing is done: 2, and how far it was heard.
function commands.import()
  local A, mark = open(1, now), 'j:' .. ARGV[3]
  local first, last = tonumber(ARGV[4]), tonumber(ARGV[5])
  local done = tonumber(call('HGET', A.key, mark) or -1)
  if first <= done and done < last then
    close(A)
    return {2, now, done}
  end
  for i = 7, done < first and 6 + ARGV[6] * 8 or 0, 8 do
    local limit = {A = A, kind = ARGV[i], id = ARGV[i + 1], start = tonumber(ARGV[i + 2]),
      ends = tonumber(ARGV[i + 3]), former = '', name = ARGV[i + 7]}
    local at, amount, taken = tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]), ARGV[i + 4] == 't'
    if limit.kind ~= 'P' or (limit.ends > A.now and limit.start <= A.now) then
      -- What was renamed since is counted under its present name; an entry of an older policy, whose
      -- zone may be another, must not begin the present period's count anew.
      local c = counter(A, limit.id)
      while c and c.kind == 'M' do c = counter(A, c.into) end
      if not c then
        c = enter(limit)
      elseif c.kind ~= 'P' or c.ends <= A.now then
        begin(c, limit)
      end
      c.changed = true
      if c.kind == 'W' and taken then
        take(c, at, amount)
      elseif c.kind == 'W' then
        insert(c, math.min(at, A.now), amount)
      elseif c.kind == 'P' then
        c.committed = taken and less(c.committed, amount) or sum(c.committed, amount)
        c.last = math.max(c.last, math.min(at, A.now))
      end
    end
  end
  call('HSET', A.key, mark, int(math.max(done, last)))
  close(A)
  return {1, now}
end

-- mark: what the books are told by; drawn anew where there are none.
function commands.hello()
  if #KEYS == 0 then return {1, now} end
  call('SET', KEYS[1], ARGV[3], 'NX')
  return {1, now, call('GET', KEYS[1])}
end

-- lease id...: which of them are still held.
function commands.renew()
  local all, lease, alive = accounts(), tonumber(ARGV[3]), 0
  for _, A in ipairs(all) do
    for i = 4, #ARGV do
      local h = load_hold(A, ARGV[i])
      if h and h.state == 'D' then
        alive = alive + 1
        save_hold(A, ARGV[i], h, A.now + lease)
      end
    end
    if A.known then close(A) end
  end
  return {alive, now}
end

-- (id name used held resets_in)..., in the order of first use.
function commands.usage()
  local A = open(1, now)
  local reply = {}
  for _, id in ipairs(split(A.ids)) do
    local c = counter(A, id)
    local total, held, resets = 0, c.granted or 0, 0
    if c.kind == 'W' then
      expire(c)
      local first = oldest(c)
      total, resets = used(c), first and less(first + c.len, now) or 0
    elseif c.kind == 'F' then
      total, held = used(c), used(c)
    elseif c.kind == 'P' and c.ends > now then
      total, held, resets = used(c), sum(c.held, c.granted), c.ends - now
    end
    for _, value in ipairs(c.kind == 'M' and {} or {id, call('HGET', A.key, 'n:' .. id), total, held, resets}) do
      reply[#reply + 1] = value
    end
  end
  if A.known then close(A) end
  return reply
end

function commands.reset()
  local A = open(1, now)
  if not A.known then return {0, now} end
  for _, id in ipairs(split(A.ids)) do clear(counter(A, id)) end
  close(A)
  return {1, now}
end

function commands.sweep()
  local A = open(1, now)
  if A.known then close(A) end
  return {A.known and 1 or 0, now}
end

