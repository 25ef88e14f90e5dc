// What Redis does where a device comes or a user has gone: in one step each, since other nodes may have
// devices of the same user.

enum PresenceScripts {
    /// Writes a device, and that its user is online, unless the user has as many as may be. What nodes
    /// wrote whose lease has ended does not count then, and goes. While its lease is not known to stand a
    /// node names itself here, so that others find what it wrote should it never have one.
    static let arrive = """
        --skein arrive
        local max=tonumber(ARGV[3]) \
        if max>0 and redis.call('HLEN',KEYS[1])>=max and redis.call('HEXISTS',KEYS[1],ARGV[1])==0 then \
        local live=0 for _,field in ipairs(redis.call('HKEYS',KEYS[1])) do \
        local node=string.match(field,'^(%x+)%-%x+$') redis.call('SELECT',0) \
        local dead=node and #node==16 and node~=ARGV[4] and redis.call('EXISTS',ARGV[5]..node)==0 \
        redis.call('SELECT',4) if dead then redis.call('HDEL',KEYS[1],field) else live=live+1 end end \
        if live>=max then return 0 end end \
        redis.call('HSET',KEYS[1],ARGV[1],ARGV[2]) redis.call('EXPIRE',KEYS[1],ARGV[7]) \
        redis.call('SET',KEYS[2],'online','EX',ARGV[7]) redis.call('SET',KEYS[3],ARGV[6],'EX',ARGV[8]) \
        redis.call('SADD',KEYS[4],ARGV[9]) redis.call('PEXPIRE',KEYS[4],ARGV[10]) \
        if ARGV[11]=='1' then redis.call('SADD',KEYS[5],ARGV[1]) redis.call('PEXPIRE',KEYS[5],ARGV[10]) end \
        if ARGV[12]~='0' then redis.call('SELECT',0) local t=redis.call('TIME') \
        redis.call('ZADD',KEYS[6],'NX',string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)+ARGV[12]),ARGV[4]) \
        redis.call('PEXPIRE',KEYS[6],ARGV[10]) redis.call('SELECT',4) end \
        return 1
        """

    /// The user's last device here has been gone for a while: offline, unless another node has one.
    static let quiet = """
        --skein quiet
        if redis.call('HLEN',KEYS[1])==0 then \
        if ARGV[3]=='0' then redis.call('DEL',KEYS[2]) else redis.call('PEXPIRE',KEYS[2],ARGV[3]) end \
        redis.call('SET',KEYS[3],ARGV[1]) end redis.call('SREM',KEYS[4],ARGV[2]) return 0
        """
}
