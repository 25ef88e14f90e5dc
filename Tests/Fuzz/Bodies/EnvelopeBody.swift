// Envelopes: JSON is judged beside JSONOracle, taken apart by the index, and its parts are spliced into
// every dialect's envelope. What is spliced must be JSON by Foundation's word, and hold what went in.

import Foundation
@testable import Skein
import SkeinWire

@Sendable func checkEnvelope(_ input: [UInt8]) throws(Contradiction) {
    let text = input
    let isText = UTF8Validator.isValid(text.span)
    try expect(isText == (String(validating: text, as: UTF8.self) != nil), "UTF-8: \(text.shown)")
    let isValid = JSONScanner.isValid(text.span)
    if isText {
        let oracle = JSONOracle.isValid(text, depthMax: JSONScanner.depthMax)
        try expect(isValid == oracle, "valid: \(isValid), naively \(oracle): \(text.shown)")
    }
    try checkString(text, isText: isText)
    _ = RFC3339.isValid(text.span)
    _ = JSONNumber.integer(text.span)
    try ObjectIndex.withTemporary(capacity: 8) { index throws(Contradiction) in
        let isObject = index.index(text.span)
        guard isText else { return }
        let startsObject = text.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) } == UInt8(ascii: "{")
        try expect(isObject == (isValid && startsObject), "object: \(isObject): \(text.shown)")
        guard isObject else { return }
        try checkMembers(index, text)
        try checkSplice(index, text)
    }
}

/// Any text becomes a JSON string and comes back.
private func checkString(_ text: [UInt8], isText: Bool) throws(Contradiction) {
    let quoted = ByteWriter.withTemporary(capacity: JSONString.escapedBytesMax(text.count)) { writer in
        writer.appendJSONString(text.span)
        return writer.withWritten { copy($0) }
    }
    try expect(JSONScanner.isValid(quoted.span), "not a string: \(quoted.shown)")
    if isText {
        let read = string(quoted)
        try expect(read.map { Array($0.utf8) } == text, "\(quoted.shown) reads \(read ?? "nothing")")
    }
    // Also of what is no string at all, it makes no more bytes than there are.
    let plain = unescaped(text)
    try expect(plain.count <= text.count, "longer than it was")
    try expect(unescaped(Array(quoted.dropFirst().dropLast())) == text, "not what was escaped")
}

private func unescaped(_ content: [UInt8]) -> [UInt8] {
    ByteWriter.withTemporary(capacity: content.count) { writer in
        JSONString.unescape(content.span, into: &writer)
        return writer.withWritten { copy($0) }
    }
}

/// Not by way of JSONSerialization, which loses a byte order mark at a string's beginning.
private func string(_ text: [UInt8]) -> String? {
    try? JSONDecoder().decode(String.self, from: Data(text))
}

private func fragment(_ text: [UInt8]) -> Any? {
    try? JSONSerialization.jsonObject(with: Data(text), options: .fragmentsAllowed)
}

private func checkMembers(_ index: borrowing ObjectIndex, _ text: [UInt8]) throws(Contradiction) {
    for position in 0..<index.count {
        let member = index[position]
        let value = Array(text[member.value.range])
        try expect(JSONOracle.isValid(value, depthMax: JSONScanner.depthMax - 1), "no value: \(value.shown)")
        if member.kind == .string {
            let plain = unescaped(Array(text[member.string.range]))
            let read = string(value).map { Array($0.utf8) }
            try expect(read == nil || plain == read, "\(value.shown) reads \(plain.shown)")
            try expect(member.hasEscapes || plain.count == value.count - 2, "escapes unseen: \(value.shown)")
        }
        if member.kind == .object {
            let count = try ObjectIndex.withTemporary(capacity: 8) { inner throws(Contradiction) in
                try expect(inner.indexTrusted(text.span, object: member.value), "trusted: \(value.shown)")
                return inner.count
            }
            let alone = ObjectIndex.withTemporary(capacity: 8) { $0.index(value.span) ? $0.count : -1 }
            try expect(alone == count, "\(count) members trusted, \(alone) alone: \(value.shown)")
        }
    }
}

/// As the router hears an event, and as a dialect of each shape writes it.
private func checkSplice(_ index: borrowing ObjectIndex, _ text: [UInt8]) throws(Contradiction) {
    guard let type = index.find("type", in: text.span), type.kind == .string else { return }
    let data = index.find("data", in: text.span)
    let request = index.find("requestId", in: text.span)
    let target = index.find("targetUserId", in: text.span)
    for shape in [EnvelopeShape.relay, .chat, .live] {
        let spliced = text.withUnsafeBufferPointer { buffer in
            // An object has two bytes at least.
            let whole = Bytes(buffer.baseAddress!, count: buffer.count)
            var event = EventView(
                type: whole.slice(type.string), data: Bytes("{}"),
                timestamp: Bytes("2026-01-02T03:04:05.678Z"))
            if let data { event.data = whole.slice(data.value) }
            if let request { event.requestID = whole.slice(request.value) }
            if let target, target.kind == .string { event.target = whole.slice(target.string) }
            return ByteWriter.withTemporary(capacity: shape.bytesMax(for: event)) { writer in
                shape.write(event, requestID: true, into: &writer)
                return writer.withWritten { copy($0) }
            }
        }
        try expect(JSONOracle.isValid(spliced, depthMax: JSONScanner.depthMax), "no JSON: \(spliced.shown)")
        guard let source = fragment(text) as? NSDictionary else { return }
        guard let envelope = fragment(spliced) as? NSDictionary else {
            throw Contradiction("Foundation cannot read \(spliced.shown)")
        }
        // A key may come twice, or be spelt with escapes: the splice is then of the last that the index
        // has room for, and Foundation may have kept another. Where there is one of each, all is as it was.
        guard source.count == index.count && !index.overflowed else { continue }
        try expect(envelope["type"] as? NSObject == source["type"] as? NSObject, "type in \(spliced.shown)")
        let spoken = envelope[shape == .chat ? "payload" : "data"] as? NSObject
        try expect(
            spoken == (source["data"] as? NSObject ?? NSDictionary()), "data in \(spliced.shown)")
        try expect(
            envelope["requestId"] as? NSObject == source["requestId"] as? NSObject,
            "requestId in \(spliced.shown)")
    }
}
