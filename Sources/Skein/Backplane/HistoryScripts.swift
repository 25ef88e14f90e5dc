// What Redis does for a user's history, each in one step that nothing can come between: append an event
// and publish it; say where a user stands and what came after a place. One stream a user holds the
// events, one string the position, which outlives them. A third key, the node's mark, says how far a
// node's own events are appended: it numbers them, and sends them in the order of their numbers.
//
// The two keys of a user share a hash tag, so that a cluster's only node takes them in one script. Every
// script goes by the clock of Redis: nodes need not agree on the time.

enum HistoryScripts {
    /// Appends and publishes events of a node that follow each other.
    ///
    /// Keys: of each event the user's stream and position. Arguments: the mark; the sequence of the event
    /// before them that was sent and not answered for, or 0; and of each event its channel, its envelope without
    /// the closing brace, and its sequence; sequences in hexadecimal.
    ///
    /// Answers how many it appended: those are left out that were appended before, whose link broke then and
    /// which were sent again, maybe while the lost link is still being read. Refuses all where the one before
    /// them is not there: that was refused, and comes again first. Where one cannot be appended or published
    /// the error says how many were, those before it: `DONE 3 NOPERM …`.
    ///
    /// The position is `<first>-<number>-<born>`. Where there is none, or none that can be read, a new
    /// life of the user begins, and what was kept of the old one is of no use.
    ///
    /// What is kept is given its deadline by the first event in each eighth of its age (`renew`), counted by
    /// the clock, and an eighth more: a write that moves no deadline costs Redis half. A stream that went before
    /// its deadline, by eviction or by hand, gets one when it comes again.
    ///
    /// Numbers are compared as numbers: Lua compares texts by the rules of a language, Redis's own.
    static func append(eventsMax: Int, ageMilliseconds: Int, positionMilliseconds: Int) -> String {
        let eighth = max(1, ageMilliseconds / 8)
        return """
            --skein append
            local c,k,a=redis.call,KEYS,ARGV local m=tonumber(c('GET',a[1]) or '0',16) or 0 \
            if m<tonumber(a[2],16) then \
            return redis.error_reply('GAP the event before this one is not in history') end \
            local t=c('TIME') local now=t[1]..string.sub('00000'..t[2],-6,-4) \
            local function one(stream,place,channel,envelope) \
            local p,last,n,born=redis.pcall('GET',place) \
            if type(p)=='string' then last,n,born=string.match(p,'^(%d+)-(%d+)-(%d+)$') end \
            local function begin() last,n,born='0',0,now c('DEL',stream) end \
            local renew,id,event \
            local function add() n=n+1 local gone=now-last \
            renew=gone<0 or now%\(eighth)<gone \
            if gone>0 then last=now end \
            id=last..'-'..n event=envelope..',"offset":"'..id..'"}' \
            if not renew then \
            local r=redis.pcall('XADD',stream,'NOMKSTREAM','MAXLEN','~',\(eventsMax),id,'e',event) \
            if r then return r end renew=true end \
            return redis.pcall('XADD',stream,'MAXLEN','~',\(eventsMax),id,'e',event) end \
            if not last then begin() end \
            local r=add() \
            if type(r)=='table' and (string.find(r.err,'WRONGTYPE') or string.find(r.err,'smaller')) \
            then begin() r=add() end \
            if type(r)=='table' then return r end \
            if renew then c('PEXPIRE',stream,\(ageMilliseconds + eighth)) \
            c('SET',place,id..'-'..born,'PX',\(positionMilliseconds + eighth)) \
            else c('SET',place,id..'-'..born,'KEEPTTL') end \
            if n%32==0 then \
            redis.pcall('XTRIM',stream,'MINID','~',string.format('%.0f',now-\(ageMilliseconds))) end \
            return redis.pcall('PUBLISH',channel,event),true end \
            local count,new,mark=#k/2,0 \
            for i=1,count do local sequence=a[3*i+2] \
            if m<tonumber(sequence,16) then \
            local ok,r,is=pcall(one,k[2*i-1],k[2*i],a[3*i],a[3*i+1]) \
            if not ok then r={err=type(r)=='table' and r.err or tostring(r)} end \
            if is then mark=sequence new=new+1 end \
            if type(r)=='table' then \
            if mark then c('SET',a[1],mark,'PX',\(positionMilliseconds)) end \
            return redis.error_reply('DONE '..(i-1)..' '..r.err) end end end \
            if mark then c('SET',a[1],mark,'PX',\(positionMilliseconds)) end \
            return new
            """
    }

    /// What `append` says where it could not do all: how many it did, and Redis's own words.
    static func partlyDone(_ error: Bytes) -> (done: Int, why: Bytes)? {
        guard let rest = error.dropping("DONE ") else { return nil }
        var done = 0
        for index in 0..<min(rest.count, 4) {
            let byte = unsafe rest.base[index]
            if byte == UInt8(ascii: " ") {
                return (done, rest.slice(from: index + 1, count: rest.count - index - 1))
            }
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            done = done * 10 + Int(byte - 0x30)
        }
        return nil
    }

    /// What a read brings at most, in bytes: far less than an answer that the reader takes for nonsense.
    static var readBytesMax: Int { 32 << 20 }

    /// Keys: stream, position. Arguments: the first ID that is wanted, or nothing; how many at most; how many
    /// bytes of events at most.
    /// Answers the position, the time in milliseconds, and the newest events, newest first. Where they are
    /// too much the older ones are left out, so that it is seen that not all are there.
    static var read: StaticString {
        """
        --skein read
        local p=redis.call('GET',KEYS[2]) local t=redis.call('TIME') local e,b,m={},0,tonumber(ARGV[3]) \
        if ARGV[1]~='' then e=redis.call('XREVRANGE',KEYS[1],'+',ARGV[1],'COUNT',ARGV[2]) \
        local n=#e for i=1,n do local f=e[i][2] b=b+#f[#f] if b>m then for j=i,n do e[j]=nil end break end end end \
        return {p or '',t[1]*1000+math.floor(t[2]/1000),e}
        """
    }
}
