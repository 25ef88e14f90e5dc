// What Redis does where a user may have one device too many, or has gone: in one step each, since other
// nodes may have devices of the same user.

enum PresenceScripts {
    /// A device was written that makes its user's more than may be. What nodes wrote whose lease has ended
    /// does not count, and goes; where there are too many still, the new one is taken back. So exactly as many
    /// stay as may, whichever nodes they come to at once.
    static let crowded: StaticString = """
        --skein crowded
        local live=0 for _,field in ipairs(redis.call('HKEYS',KEYS[1])) do \
        local node=string.match(field,'^(%x+)%-%x+$') redis.call('SELECT',0) \
        local dead=node and #node==16 and node~=ARGV[3] and redis.call('EXISTS',ARGV[4]..node)==0 \
        redis.call('SELECT',4) if dead then redis.call('HDEL',KEYS[1],field) else live=live+1 end end \
        if live<=tonumber(ARGV[2]) then return 1 end redis.call('HDEL',KEYS[1],ARGV[1]) return 0
        """

    /// While its lease is not known to stand a node names itself before it writes a device, so that others
    /// find what it wrote should it never have one.
    static let named: StaticString = """
        --skein named
        redis.call('SELECT',0) local t=redis.call('TIME') \
        redis.call('ZADD',KEYS[1],'NX',string.format('%.0f',t[1]*1000+math.floor(t[2]/1000)+ARGV[3]),ARGV[1]) \
        redis.call('PEXPIRE',KEYS[1],ARGV[2]) redis.call('SELECT',4) return 0
        """

    /// The user's last device here has been gone for a while: offline, unless another node has one.
    static let quiet = """
        --skein quiet
        if redis.call('HLEN',KEYS[1])==0 then \
        if ARGV[3]=='0' then redis.call('DEL',KEYS[2]) else redis.call('PEXPIRE',KEYS[2],ARGV[3]) end \
        redis.call('SET',KEYS[3],ARGV[1]) end redis.call('SREM',KEYS[4],ARGV[2]) return 0
        """
}
