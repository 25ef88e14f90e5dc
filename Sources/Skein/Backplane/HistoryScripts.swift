// What Redis does for a user's history, each in one step that nothing can come between: append an event
// and publish it; say where a user stands and what came after a place. One stream a user holds the
// events, one string the position, which outlives them. A third key, the node's mark, says how far a
// node's own events are appended: it numbers them, and sends them in the order of their numbers.
//
// The two keys of a user share a hash tag, so that a cluster's only node takes them in one script. Every
// script goes by the clock of Redis: nodes need not agree on the time.

enum HistoryScripts {
    /// Keys: stream, position. Arguments: channel; envelope without its closing brace; the event's
    /// sequence; the mark; and the sequence of the event before it that was sent and not answered for, or
    /// 0; sequences in hexadecimal.
    ///
    /// Answers 0 where it was appended before: its link broke then, and it was sent again, maybe while the
    /// lost link is still being read. Refuses it where the one before it is not there: that was refused,
    /// and comes again first.
    ///
    /// The position is `<first>-<number>-<born>`. Where there is none, or none that can be read, a new
    /// life of the user begins, and what was kept of the old one is of no use.
    static func append(eventsMax: Int, ageMilliseconds: Int, positionMilliseconds: Int) -> String {
        """
        local mark=tonumber(redis.call('GET',ARGV[4]) or '0',16) or 0 \
        if mark>=tonumber(ARGV[3],16) then return 0 end \
        if mark<tonumber(ARGV[5],16) then \
        return redis.error_reply('GAP the event before this one is not in history') end \
        local p=redis.pcall('GET',KEYS[2]) local t=redis.call('TIME') \
        local now=t[1]*1000+math.floor(t[2]/1000) local last,n,born,id,event \
        local function begin() \
        last,n,born=0,0,string.format('%.0f',now) redis.call('DEL',KEYS[1]) end \
        local function add() n=n+1 if now>last then last=now end \
        id=string.format('%.0f-%.0f',last,n) event=ARGV[2]..',"offset":"'..id..'"}' \
        return redis.pcall('XADD',KEYS[1],'MAXLEN','~',\(eventsMax),id,'e',event) end \
        if type(p)=='string' then last,n,born=string.match(p,'^(%d+)-(%d+)-(%d+)$') end \
        if last then last,n=tonumber(last),tonumber(n) else begin() end \
        local r=add() \
        if type(r)=='table' and r.err and (string.find(r.err,'WRONGTYPE') or string.find(r.err,'smaller')) \
        then begin() r=add() end \
        if type(r)=='table' and r.err then return r end \
        if n%32==0 then \
        redis.call('XTRIM',KEYS[1],'MINID','~',string.format('%.0f',now-\(ageMilliseconds))) end \
        redis.call('SET',KEYS[2],id..'-'..born,'PX',\(positionMilliseconds)) \
        redis.call('PEXPIRE',KEYS[1],\(ageMilliseconds)) \
        redis.call('SET',ARGV[4],ARGV[3],'PX',\(positionMilliseconds)) \
        redis.call('PUBLISH',ARGV[1],event) return 1
        """
    }

    /// Keys: stream, position. Arguments: the first ID that is wanted, or nothing; how many at most.
    /// Answers the position, the time in milliseconds, and the newest events, newest first.
    static var read: StaticString {
        """
        local p=redis.call('GET',KEYS[2]) local t=redis.call('TIME') local e={} \
        if ARGV[1]~='' then e=redis.call('XREVRANGE',KEYS[1],'+',ARGV[1],'COUNT',ARGV[2]) end \
        return {p or '',t[1]*1000+math.floor(t[2]/1000),e}
        """
    }
}
