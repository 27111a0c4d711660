package fleet

import (
	"errors"
	"strconv"

	"github.com/gomodule/redigo/redis"
)

const (
	// pageSize is how many revocations travel at once.
	pageSize = 500
	// maxStored bounds the revocations in the store: as many as authn keeps in memory.
	maxStored = 1 << 17
)

var errAnswer = errors.New("fleet: the store answered something else")

// parseNumber reads a score, which Redis writes as a floating-point number.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1<<53 || n != float64(int64(n)) {
		return 0, errAnswer
	}
	return int64(n), nil
}

// scripts run in the store, each at once or not at all.
type scripts struct{ poll, publish, begin, finish, keys *redis.Script }

func newScripts() scripts {
	return scripts{
		// The head names the epoch of the numbers: a store that has lost it begins anew, and every instance
		// tells it again what it knows.
		poll: redis.NewScript(3, `
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'last', 0)
end
local after = ARGV[3]
if epoch ~= ARGV[2] then after = '0' end
local list = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[4]))
return {epoch, tonumber(redis.call('HGET', KEYS[1], 'last')), list}`),
		publish: redis.NewScript(3, `
for i = 3, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[1], 'last', 1), ARGV[i])
    redis.call('ZADD', KEYS[3], ARGV[i + 1], ARGV[i])
  end
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, 1000)
local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[2])
if #gone == 0 and over > 0 then gone = redis.call('ZRANGE', KEYS[3], 0, math.min(over, 1000) - 1) end
if #gone > 0 then
  redis.call('ZREM', KEYS[2], unpack(gone))
  redis.call('ZREM', KEYS[3], unpack(gone))
end
return #gone`),
		begin: redis.NewScript(2, `
local result = redis.call('GET', KEYS[2])
if result then return {'result', result} end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'lead', ''} end
return {'wait', ''}`),
		// The result of whoever held the lock too long counts too: it may have the only token that is good.
		finish: redis.NewScript(2, `
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`),
		// A name that is there already gets what it is told last: its owner says it again, and who damages it
		// is corrected.
		keys: redis.NewScript(2, `
for i = 3, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], ARGV[i + 2], ARGV[i])
end
local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, 1000)
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2])
if #gone == 0 and over > 0 then gone = redis.call('ZRANGE', KEYS[2], 0, math.min(over, 1000) - 1) end
if #gone > 0 then
  redis.call('ZREM', KEYS[2], unpack(gone))
  redis.call('HDEL', KEYS[1], unpack(gone))
end
local names = redis.call('ZREVRANGE', KEYS[2], 0, tonumber(ARGV[2]) - 1)
if #names == 0 then return {} end
return redis.call('HMGET', KEYS[1], unpack(names))`),
	}
}
