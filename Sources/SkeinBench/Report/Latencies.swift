// Latencies in nanoseconds, in an HdrHistogram of three digits: from recorded values to percentiles, and to
// the text that its plotting tools read.

internal import Histogram

package struct Latencies: Sendable {
    private static let nanosecondsMax: UInt64 = 3_600_000_000_000
    private var histogram = Histogram<UInt64>(highestTrackableValue: nanosecondsMax)

    package init() {}

    package var count: UInt64 { histogram.totalCount }

    /// Below 0 is a clock read on another core: as good as nothing.
    @inline(__always)
    package mutating func record(_ nanoseconds: Int64) {
        histogram.record(UInt64(min(max(nanoseconds, 0), Int64(Self.nanosecondsMax))))
    }

    package mutating func add(_ other: Latencies) { histogram.add(other.histogram) }

    package var meanMicroseconds: Double { count == 0 ? 0 : histogram.mean / 1e3 }
    package var maxMicroseconds: Double { count == 0 ? 0 : Double(histogram.max) / 1e3 }

    /// - Parameter percentile: 0 to 100.
    package func microseconds(at percentile: Double) -> Double {
        count == 0 ? 0 : Double(histogram.valueAtPercentile(percentile)) / 1e3
    }

    /// The percentile distribution in milliseconds, as HdrHistogram's plotter and `hdr-plot` read it.
    package var distribution: String {
        var text = ""
        histogram.outputPercentileDistribution(to: &text, outputValueUnitScalingRatio: 1e6)
        return text
    }
}
