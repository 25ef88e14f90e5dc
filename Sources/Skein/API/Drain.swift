// Leaving on purpose: what is asked, how far it is, and what came of it.

public struct DrainPlan: Sendable, Equatable {
    /// What is still connected then is closed with 1001.
    public var deadline: Duration = .seconds(30)
    /// Between failing readiness and closing the listeners.
    public var preStop: Duration = .zero
    /// One slice of the connections is told every so often.
    public var wave: Duration = .milliseconds(250)

    public init() {}
}

public enum DrainPhase: String, Sendable, Codable {
    case running, preStop = "pre_stop", waves, deadline, done
}

public struct DrainProgress: Sendable, Codable, Equatable {
    public var phase: DrainPhase
    /// Connections that are still open.
    public var remaining: Int
    public var told: Int
    public var waves: Int
    /// Other nodes that take clients.
    public var peers = 0
    /// Clients a second that they can take; `nil` where nobody says.
    public var perSecond: Int?
    public var pacedBy = DrainPacer.none
    /// Waves that went before it was sure that all accepted for them had arrived.
    public var fencesLate = 0

    public init(phase: DrainPhase, remaining: Int, told: Int, waves: Int) {
        self.phase = phase
        self.remaining = remaining
        self.told = told
        self.waves = waves
    }
}

public struct DrainReport: Sendable, Codable, Equatable {
    /// Clients that were sent 1012 with a hint.
    public var told = 0
    /// Of these, the ones that had closed before the deadline.
    public var moved = 0
    public var closedAtDeadline = 0
    /// Messages that waited in send queues when the drain began or came later, and went out.
    public var eventsFlushed = 0
    /// Messages that were still waiting when their connection ended.
    public var eventsLeft = 0
    public var waves = 0
    /// What set the pace: the strongest of any wave.
    public var pacedBy = DrainPacer.none
    /// Other nodes that could take clients at the end.
    public var peers = 0
    /// Waves that went before it was sure that all accepted for them had arrived.
    public var fencesLate = 0
    public var seconds = 0.0

    public init() {}
}
