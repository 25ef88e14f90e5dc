// What is fuzzed: one body per codec that reads strangers' bytes. A body must hold for every input; it is
// run by libFuzzer (Ops/fuzz) and, over the committed corpus and seeded mutations, by `swift test`.

/// A body did not hold: two ways to the same answer differ, or an answer breaks its promise.
package struct Contradiction: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}

package func expect(
    _ condition: Bool, _ otherwise: @autoclosure () -> String
) throws(Contradiction) {
    guard condition else { throw Contradiction(otherwise()) }
}

package struct FuzzTarget: Sendable, CustomStringConvertible {
    package typealias Check = @Sendable ([UInt8]) throws(Contradiction) -> Void

    /// Also its folder beside this one, and its executable without `Fuzz`.
    package let name: String
    /// Makes the check; what takes long to set up is set up once, here.
    package let prepare: @Sendable () async throws -> Check

    package var description: String { name }

    package init(_ name: String, _ prepare: @escaping @Sendable () async throws -> Check) {
        self.name = name
        self.prepare = prepare
    }
}
