// What the router keeps of the registry: its own lease, the others' as last read, and the node whose
// death it is clearing up after.

internal import SkeinIO

struct NodeRegistry {
    /// Leases a node reads a second, at most about: with many nodes each reads less often, so that what
    /// Redis answers grows with their number and not with its square.
    static let readsPerSecond = 20
    /// How long what a node wrote of itself outlives its last beat, where nobody clears up after it.
    static let leftoverMilliseconds: Int64 = 3_600_000
    /// Past it a lease is nonsense.
    static let leaseMillisecondsMax: Int64 = 1 << 50
    /// Users that are cleared of a dead node's devices in one step of Redis.
    static let usersPerStep = 64

    let id: String
    let leasePrefix: [UInt8]
    let nodesKey: [UInt8]
    let leaseKey: [UInt8]
    /// In database 4: users with a device here.
    let usersKey: [UInt8]
    /// Those that are looked through for what is left of the departed.
    let oldUsersKey: [UInt8]
    /// Devices that were said since.
    let saidKey: [UInt8]
    /// The number of the restatement that is the latest.
    let turnKey: [UInt8]
    let address: String
    let startedAtMilliseconds: Int64

    var beatDue = Instant(nanoseconds: 0)
    var readDue = Instant(nanoseconds: 0)
    /// Redis has had our lease before: where it has none, others may have taken us for dead.
    var wasLeased = false
    /// Beats so far, and up to which they were answered, or lost with their link.
    var beats: UInt64 = 0
    var beatsEnded: UInt64 = 0
    /// Not before a later beat than this is answered, Redis is known to have our lease: until then whatever
    /// is written of a device names this node too, for those who would clear up after it.
    private var namesThrough: UInt64 = 0
    var namesItself: Bool { beatsEnded <= namesThrough }
    /// The sets of its users, and of devices that were said, are there and have their time.
    var usersAreKept = false
    var saidAreKept = false
    /// One never was: whether our lease had ended is not known.
    var isDoubtful = false
    var isDraining = false
    /// It has been seen to let clients in; before that it is asked more often whether it does.
    var hasOpened = false

    // Rates, over the time between two beats.
    var lastLoad: (load: NodeLoad, at: Instant)?
    var arrivingPerSecond = 0
    var leavingPerSecond = 0

    /// The dead node in hand.
    var dead: DeadNode?
    /// Of our own keys, at the end.
    var isRetiring = false
    var isRetired = false
    /// And takes away the mark of its events in history: that it is gone says nothing then.
    var clearsMark = false

    init(prefix: String, id: String, address: String, startedAtMilliseconds: Int64) {
        self.id = id
        leasePrefix = Array("\(prefix)node:".utf8)
        nodesKey = Array("\(prefix)nodes".utf8)
        leaseKey = leasePrefix + Array(id.utf8)
        usersKey = leaseKey + Array(":users".utf8)
        oldUsersKey = leaseKey + Array(":old".utf8)
        saidKey = leaseKey + Array(":said".utf8)
        turnKey = leaseKey + Array(":turn".utf8)
        self.address = address
        self.startedAtMilliseconds = startedAtMilliseconds
    }

    mutating func beatRefused() {
        beatsEnded = min(beatsEnded + 1, beats)
        namesThrough = beats
    }

    /// A Redis may have begun anew.
    mutating func nameAgain() {
        namesThrough = beats
        beatDue = Instant(nanoseconds: 0)
    }

    func key(of node: String, _ suffix: StaticString = "") -> [UInt8] {
        leasePrefix + Array(node.utf8) + suffix.withUTF8Buffer { unsafe Array($0) }
    }

    /// Rates since the last beat.
    mutating func measure(_ load: NodeLoad, at now: Instant) {
        defer { lastLoad = (load, now) }
        guard let last = lastLoad else { return }
        let milliseconds = max(1, now.nanoseconds(since: last.at) / 1_000_000)
        arrivingPerSecond = Self.rate(load.arrived &- last.load.arrived, milliseconds)
        leavingPerSecond = Self.rate(load.told &- last.load.told, milliseconds)
    }

    static func rate(_ count: UInt64, _ milliseconds: Int64) -> Int {
        Int(clamping: count.multipliedReportingOverflow(by: 1_000).partialValue / UInt64(milliseconds))
    }

    /// Sixteen hexadecimal digits: nothing else is a node's ID.
    static func isNodeID(_ text: String) -> Bool {
        text.utf8.count == 16
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}

struct DeadNode {
    let id: String
    var devices = 0
    var users = 0
    /// By when Redis should have answered the step that is out.
    var due: Instant
}
