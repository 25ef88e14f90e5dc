// permessage-deflate (RFC 7692) on a shard's connections. By default no context outlives a message,
// so that one compressor and one decompressor serve all connections, a compressed frame serves
// everyone who gets the same event, and an idle connection costs nothing; contexts that are kept are
// the connection's own, and bounded in all.

internal import SkeinIO
internal import SkeinWire

/// What a connection keeps from message to message, where that was agreed.
struct CompressionContext: ~Copyable {
    var inflater: Inflater?
    var deflater: Deflater?
    var bytes = 0
}

/// The shard's own tools, each made when it is first needed.
@safe
struct Compression: ~Copyable {
    let settings: DeflateSettings
    /// What all kept contexts of this shard may hold.
    let contextBytesMax: Int
    var contextBytes = 0
    /// For connections that keep no context. Any smaller window fits in the largest.
    var inflater: Inflater?
    /// By window bits, 9 to 15.
    var deflaters: InlineArray<16, OwnedPointer<Deflater>> = InlineArray(repeating: .none)
    /// What a compressed message became.
    var inflated = ByteBlock()
    let piece: UnsafeMutableBufferPointer<UInt8>

    static let pieceBytes = 16_384
    /// Past it the memory of a message goes back to the system.
    static let inflatedBytesKept = 1 << 20

    init(settings: DeflateSettings, contextBytesMax: Int) {
        self.settings = settings
        self.contextBytesMax = contextBytesMax
        unsafe piece = .allocate(capacity: settings.isEnabled ? Self.pieceBytes : 1)
    }

    deinit {
        for bits in deflaters.indices {
            var deflater = deflaters[bits]
            deflater.free()
        }
        unsafe piece.deallocate()
    }
}

extension ShardCore {
    // MARK: Agreeing

    /// Agrees on compression where the client offered it, and writes what the answer says.
    func agreeOnCompression(_ slot: UInt32, _ offer: Bytes, into writer: inout ByteWriter) {
        guard state.compression.settings.isEnabled, !offer.isEmpty else { return }
        var settings = state.compression.settings
        let bytes = contextBytes(of: settings)
        if bytes > 0, state.compression.contextBytes + bytes > state.compression.contextBytesMax {
            // No room for one more context: this client's messages stand alone.
            settings.serverNoContextTakeover = true
            settings.clientNoContextTakeover = true
        }
        guard let agreed = unsafe DeflateNegotiation.accept(offer: offer.buffer.span, settings: settings)
        else { return }
        DeflateNegotiation.writeAnswer(agreed, into: &writer)
        state.connections[slot].flags.insert(.compresses)
        state.connections[slot].deflate = agreed.packed
        keepContext(slot, agreed)
        metrics.compressed.add()
    }

    private func contextBytes(of settings: DeflateSettings) -> Int {
        (settings.serverNoContextTakeover
            ? 0
            : Deflater.bytesHeldMax(
                windowBits: settings.serverWindowBits, memoryLevel: settings.memoryLevel))
            + (settings.clientNoContextTakeover
                ? 0 : Inflater.bytesHeldMax(windowBits: settings.clientWindowBits))
    }

    private func keepContext(_ slot: UInt32, _ agreed: DeflateParameters) {
        guard !agreed.serverNoContextTakeover || !agreed.clientNoContextTakeover else { return }
        let settings = state.compression.settings
        var context = CompressionContext()
        if !agreed.clientNoContextTakeover {
            context.bytes += Inflater.bytesHeldMax(windowBits: agreed.clientWindowBits)
            context.inflater = Inflater(windowBits: agreed.clientWindowBits)
        }
        if !agreed.serverNoContextTakeover {
            context.bytes += Deflater.bytesHeldMax(
                windowBits: agreed.serverWindowBits, memoryLevel: settings.memoryLevel)
            context.deflater = Deflater(
                windowBits: agreed.serverWindowBits, level: settings.level,
                memoryLevel: settings.memoryLevel)
        }
        let bytes = context.bytes
        state.connections[slot].context = OwnedPointer(context)
        state.compression.contextBytes += bytes
        metrics.compressionBytes.set(UInt64(state.compression.contextBytes))
    }

    func freeContext(_ slot: UInt32) {
        guard state.connections[slot].context.exists else { return }
        state.compression.contextBytes -= state.connections[slot].context.value.bytes
        metrics.compressionBytes.set(UInt64(state.compression.contextBytes))
        state.connections[slot].context.free()
    }

    // MARK: Inbound

    /// A compressed message that came whole; its size is bounded while it grows, so that a small
    /// frame cannot become a large allocation.
    func messageCompressed(_ slot: UInt32, _ opcode: Opcode, _ bytes: Bytes) throws(WebSocketError) {
        state.compression.inflated.removeAll()
        let context = state.connections[slot].context
        if context.exists, context.value.inflater != nil {
            try inflate(&context.value.inflater!, bytes)
        } else {
            if state.compression.inflater == nil { state.compression.inflater = Inflater(windowBits: 15) }
            state.compression.inflater!.reset()
            try inflate(&state.compression.inflater!, bytes)
        }
        let whole = state.compression.inflated.bytes
        if opcode == .text {
            guard unsafe UTF8Validator.isValid(whole.buffer.span) else { throw .textNotUTF8 }
        }
        message(slot, opcode, whole)
        if state.compression.inflated.count > Compression.inflatedBytesKept {
            state.compression.inflated = ByteBlock()
        }
    }

    private func inflate(_ inflater: inout Inflater, _ bytes: Bytes) throws(WebSocketError) {
        let most = state.limits.messageBytesMax
        let core = self
        unsafe try inflater.inflate(bytes.buffer.span, isLast: true, scratch: state.compression.piece) {
            (piece) throws(WebSocketError) in
            guard core.state.compression.inflated.count + piece.count <= most else { throw .messageTooBig }
            unsafe piece.withUnsafeBufferPointer { buffer in
                guard let base = buffer.baseAddress else { return }
                core.state.compression.inflated.append(unsafe Bytes(base, count: buffer.count))
            }
        }
    }

    // MARK: Outbound

    /// Whether one compressed frame will do for every connection that agreed on the same.
    @inline(__always)
    func sharesFrames(_ slot: UInt32) -> Bool {
        let agreed = DeflateParameters(packed: state.connections[slot].deflate)
        return agreed.serverNoContextTakeover
            && agreed.serverWindowBits == state.compression.settings.serverWindowBits
    }

    /// A data frame as this connection gets it: compressed, where that is shorter or was promised.
    @inline(never)
    func compressed(_ slot: UInt32, _ frame: Bytes) -> Bytes {
        let header = FrameEncoder.headerBytes(ofFrame: unsafe frame.buffer.span)
        let payload = frame.slice(from: header, count: frame.count - header)
        guard payload.count >= state.compression.settings.bytesMin else { return frame }
        let context = state.connections[slot].context
        if context.exists, context.value.deflater != nil {
            return write(frame, payload) { writer in
                unsafe context.value.deflater!.compress(
                    payload.buffer.span, keepingContext: true, into: &writer)
            }
        }
        let windowBits = DeflateParameters(packed: state.connections[slot].deflate).serverWindowBits
        let bits = Int(windowBits)
        if !state.compression.deflaters[bits].exists {
            let settings = state.compression.settings
            state.compression.deflaters[bits] = OwnedPointer(
                Deflater(windowBits: windowBits, level: settings.level, memoryLevel: settings.memoryLevel))
        }
        let deflater = state.compression.deflaters[bits]
        let short = write(frame, payload) { writer in
            unsafe deflater.value.compress(payload.buffer.span, keepingContext: false, into: &writer)
        }
        return short.count < frame.count ? short : frame
    }

    private func write(
        _ frame: Bytes, _ payload: Bytes, _ compress: (inout ByteWriter) -> Bool
    ) -> Bytes {
        let room = FrameEncoder.maxHeaderBytes + Deflater.bytesMax(for: payload.count)
        let memory = unsafe state.arena.allocate(room)
        var writer = unsafe ByteWriter(unsafe: memory, capacity: room)
        let mark = FrameEncoder.reserve(in: &writer)
        let fits = compress(&writer)
        precondition(fits, "a compressed message outgrew its bound")
        let opcode = unsafe Opcode(rawValue: frame.base[0] & 0x0F) ?? .text
        let start = FrameEncoder.seal(opcode, reservedAt: mark, rsv1: true, in: &writer)
        state.arena.trim(room - writer.count)
        return unsafe Bytes(memory + start, count: writer.count - start)
    }

    /// Queues a data frame for one connection.
    @inline(__always)
    func enqueueData(_ slot: UInt32, _ frame: Bytes) {
        guard state.connections[slot].flags.contains(.compresses) else {
            enqueue(slot, frame)
            return
        }
        enqueue(slot, compressed(slot, frame))
    }
}

extension DeflateSettings {
    init(_ configuration: CompressionConfiguration) {
        self.init()
        isEnabled = configuration.isEnabled
        serverNoContextTakeover = !configuration.serverTakeover
        clientNoContextTakeover = !configuration.clientTakeover
        serverWindowBits = UInt8(clamping: configuration.windowBits)
        level = UInt8(clamping: configuration.level)
        bytesMin = configuration.bytesMin
    }
}
