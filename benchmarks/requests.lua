-- For wrk: goes round a list of requests, and prints its figures as JSON.
-- The list is a Lua file that returns {{path, {header = value, ...}}, ...}; its name is the first argument.

local requests, last, turn = {}, 0, 0

function init(args)
   for number, request in ipairs(dofile(args[1])) do
      requests[number] = wrk.format("GET", request[1], request[2])
      last = number
   end
end

function request()
   turn = turn % last + 1
   return requests[turn]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "bytes": %d, "p50_us": %f, "p99_us": %f, "broken": %d, "refused": %d}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
