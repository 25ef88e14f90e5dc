// A user as the router knows it: its devices here, and where they stand in its history.

internal import SkeinIO

/// A user with a device on this node, or one that left a moment ago.
struct RoutedUser: UserKeyed {
    enum Hearing: UInt8 {
        /// Nobody has asked Redis yet.
        case no
        /// SUBSCRIBE is out.
        case asked
        case yes
    }
    /// How devices are told to come back.
    enum Return: UInt8 {
        case none
        /// What they missed is in history, or whether it is will be told them there.
        case resuming
        /// They missed what no history keeps, and read their state anew.
        case reading
    }
    /// Where the user's devices here stand in its history.
    enum Place: BitwiseCopyable {
        case unknown
        /// A read found it, while devices here that know no offset still get what was published before it: a
        /// mark is under way that tells when they have it all.
        case found(Offset)
        /// The newest offset that the user's shard was given, or was told of.
        case known(Offset)
    }
    var id: StoredUserID
    var deviceCount: UInt32 = 0
    /// Devices that wait for an answer; a list through the waiters.
    var firstWaiter: UInt32 = ConnectionRecord.none
    /// Grows with each arrival and departure, so that a delayed step sees whether it still holds.
    var change: UInt32 = 0
    /// Reads of the user's history that wait or are out. While there is one, it brings what comes.
    var reads: UInt32 = 0
    /// The newest that was heard and left to a read.
    var left = Offset.none
    /// Up to which of this node's own events the user's devices were served without Redis.
    var deliveredThrough: UInt64 = 0
    /// Up to which of them the user's devices have what is theirs, wherever it came from.
    var givenThrough: UInt64 = 0
    /// Up to which of them `last` is known to come after.
    var passedThrough: UInt64 = 0
    /// And since which there was one of them.
    var deliveredSince: UInt64 = 0
    // What is smaller than a word, so that it takes the room behind the place's.
    var place = Place.unknown
    var hearing = Hearing.no
    var isPresent = false
    /// Devices here were given an event of another node's, and not its offset.
    var heardOthers = false
    /// How its devices are still to be told to come back.
    var owedReturn = Return.none

    static var idOffset: Int { MemoryLayout<RoutedUser>.offset(of: \.id)! }

    var isPlaced: Bool {
        if case .known = place { true } else { false }
    }
    /// A mark is under way for it.
    var awaitsMark: Bool {
        if case .found = place { true } else { false }
    }
    /// Where it is known to stand; only then it says anything.
    var last: Offset {
        get { if case .known(let offset) = place { offset } else { .none } }
        set { place = .known(newValue) }
    }
}
