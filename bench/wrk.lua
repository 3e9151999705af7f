-- Sends the requests of a file one after the other, and prints the result as JSON. See wrk.py.
--
-- The file has, for each request, its length and a line feed, then its bytes. When all were sent, it begins again. The
-- ids of events then end in other digits, so that each event is new: `f`, the number of the trial, and the pass.

local requests, last = {}, 0
local at, pass, trial = 0, 0, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   local text = file:read("*a")
   file:close()
   trial = tonumber(arguments[2])
   local from = 1
   while from <= #text do
      local stop = text:find("\n", from, true)
      local length = tonumber(text:sub(from, stop - 1))
      last = last + 1
      requests[last] = text:sub(stop + 1, stop + length)
      from = stop + length + 1
   end
end

local six = ('[^"]'):rep(6)

local function renewed(request)
   local digits = string.format("%%1f%03x%02x\"", trial % 4096, pass % 256)
   for _, name in ipairs({"id", "causationId", "correlationId"}) do
      request = request:gsub('("' .. name .. '":"[^"]*)' .. six .. '"', digits)
   end
   return request
end

function request()
   at = at + 1
   if at > last then
      at, pass = 1, pass + 1
   end
   if pass > 0 and last > 1 then
      return renewed(requests[at])
   end
   return requests[at]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '\n{"duration":%d,"requests":%d,"status":%d,"lost":%d,"p50":%d,"p95":%d,"p99":%d,"most":%d}\n',
      summary.duration, summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
