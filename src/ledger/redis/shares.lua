-- What replicas say of the shares that they spend.

-- id seq closing lease slots count (account counter spent left takes (time amount)...)...
function commands.report()
  local id, seq, closing, lease = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
  local all, found, applied, recalled = accounts(), 0, now, 0
  local at = 9
  local lines = {}
  for _ = 1, tonumber(ARGV[8]) do
    local line = {account = tonumber(ARGV[at]), id = ARGV[at + 1], spent = tonumber(ARGV[at + 2]),
      left = tonumber(ARGV[at + 3]), takes = {}}
    local count = tonumber(ARGV[at + 4])
    at = at + 5
    for _ = 1, count do
      line.takes[#line.takes + 1] = {time = tonumber(ARGV[at]), amount = tonumber(ARGV[at + 1])}
      at = at + 2
    end
    lines[#lines + 1] = line
  end
  for i, A in ipairs(all) do
    local h = load_hold(A, id)
    if h and (h.state == 'S' or h.state == 'Y') then
      found = 1
      if A.recall >= h.drawn then recalled = 1 end
      if seq <= h.seq then
        applied = h.applied
      else
        local was = h.state
        if was == 'S' then A.inflight = less(A.inflight, h.slots) end
        for _, line in ipairs(lines) do
          local charge = line.account == i and charge_of(h, line.id)
          local c, current
          if charge then c, current = follow(A, charge) end
          if c then
            c.changed = true
            if c.kind == 'W' then expire(c) end
            if was == 'S' then
              c.granted = less(c.granted, charge.amount)
            elseif c.kind == 'W' then
              -- It expired, and was charged for what it had left: now the truth is known.
              take(c, h.slots, charge.amount)
            elseif c.kind == 'P' and current then
              c.committed = less(c.committed, charge.amount)
            end
            for _, back in ipairs(line.takes) do
              if c.kind == 'W' and current then take(c, back.time, back.amount) end
            end
            if c.kind == 'W' then add(c, A.now, line.spent) else commit(c, charge, line.spent) end
            charge.amount = line.left
            c.granted = c.granted + line.left
          end
        end
        h.state, h.slots, h.seq, h.applied = 'S', i == 1 and tonumber(ARGV[7]) or 0, seq, A.now
        A.inflight = A.inflight + h.slots
        applied = A.now
        if closing then
          drop_hold(A, id)
        else
          save_hold(A, id, h, lease and A.now + lease)
        end
      end
    end
    if A.known then close(A) end
  end
  return {found, now, applied, recalled}
end

return commands[ARGV[1]]()
