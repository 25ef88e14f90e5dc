// The relay dialect at `/ws`: notifications and direct chat, driven by backends. Each message names
// whom it is for; the event goes through the broker to every device of theirs.

public import Skein

/// The relay dialect: `{"type","data":{},"timestamp","requestId"?}` at `/ws`.
public func relayDialect() -> DialectFactory { DialectFactory { RelayDialect() } }

final class RelayDialect: Dialect {
    init() { super.init(path: "/ws", name: "relay", envelope: .relay) }

    override func received(_ message: borrowing Message, from connection: borrowing Connection) {
        guard let sender = connection.userID else { return }
        let exchange = Exchange(sender: sender)
        if message.isType("chat_message") {
            exchange.chatMessage(message, connection)
        } else if message.isType("typing") {
            exchange.typing(message, connection)
        } else if message.isType("ping") {
            exchange.ping(message, connection)
        } else if message.isType("read_receipt") {
            exchange.readReceipt(message, connection)
        } else if message.isType("chat_edit") {
            exchange.chatEdit(message, connection)
        } else if message.isType("chat_delete") {
            exchange.chatDelete(message, connection)
        } else if message.isType("notification_read") {
            exchange.notificationRead(message, connection)
        } else {
            connection.fail(.unknownEvent, "the relay endpoint knows no such type", for: message)
        }
    }
}

/// One message of one sender: what it must have, and what comes of it.
private struct Exchange {
    let sender: UserID

    func ping(_ message: borrowing Message, _ connection: borrowing Connection) {
        var pong = connection.draft("pong")
        if let timestamp = message.field("timestamp") ?? message.envelopeField("timestamp") {
            pong.add("timestamp", timestamp, of: message)
        }
        connection.reply(&pong, to: message)
    }

    func typing(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let receiver = user("receiverId", message, connection) else { return }
        guard let isTyping = message.field("isTyping"), isTyping.kind == .bool else {
            connection.fail(.validation, "isTyping must be true or false", for: message)
            return
        }
        var event = connection.draft("typing", isKept: false)
        event.add("senderId", user: sender)
        event.add("isTyping", isTyping, of: message)
        send(&event, to: receiver, message, connection)
    }

    func readReceipt(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let reader = user("senderId", message, connection) else { return }
        guard let messageIDs = message.field("messageIds"), message.isIDArray(messageIDs) else {
            connection.fail(.validation, "messageIds must be an array of IDs", for: message)
            return
        }
        var event = connection.draft("read_receipt")
        event.add("readBy", user: sender)
        event.add("messageIds", messageIDs, of: message)
        send(&event, to: reader, message, connection)
    }

    func chatMessage(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let receiver = user("receiverId", message, connection),
            let content = content(message, connection)
        else { return }
        let isSent: Bool
        do {
            var event = connection.draft("chat_message")
            event.add("senderId", user: sender)
            event.add("message", content, of: message)
            isSent = send(&event, to: receiver, message, connection)
        }
        guard isSent else { return }
        var confirmation = connection.draft("chat_message_sent")
        confirmation.add("receiverId", user: receiver)
        confirmation.add("message", content, of: message)
        answer(&confirmation, message, connection)
    }

    func chatEdit(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let receiver = user("receiverId", message, connection),
            content(message, connection) != nil
        else { return }
        both(receiver, message, connection)
    }

    func chatDelete(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let receiver = user("receiverId", message, connection) else { return }
        guard let messageID = message.field("messageId"), message.isID(messageID) else {
            connection.fail(
                .validation, "messageId must be 1 to 128 visible ASCII characters", for: message)
            return
        }
        both(receiver, message, connection)
    }

    func notificationRead(_ message: borrowing Message, _ connection: borrowing Connection) {
        guard let notificationID = message.field("notificationId"),
            message.isID(notificationID)
        else {
            connection.fail(
                .validation, "notificationId must be 1 to 128 visible ASCII characters", for: message)
            return
        }
        // This release stores no notifications, so there is none to mark.
        connection.fail(.notFound, "there is no notification with this notificationId", for: message)
    }

    // MARK: Shared by several

    private func user(
        _ name: StaticString, _ message: borrowing Message, _ connection: borrowing Connection
    ) -> UserID? {
        if let field = message.field(name), let user = message.userID(field) { return user }
        if name.description == "senderId" {
            connection.fail(.validation, "senderId must be 1 to 128 visible ASCII characters", for: message)
        } else {
            connection.fail(.validation, "receiverId must be 1 to 128 visible ASCII characters", for: message)
        }
        return nil
    }

    private func content(
        _ message: borrowing Message, _ connection: borrowing Connection
    ) -> Message.Field? {
        if let content = message.field("message") { return content }
        connection.fail(.validation, "message is missing", for: message)
        return nil
    }

    /// To every device of both users: type and data as they came, and who it was.
    private func both(
        _ receiver: UserID, _ message: borrowing Message, _ connection: borrowing Connection
    ) {
        var event = connection.draft(like: message)
        event.addAll(of: message, without: "senderId")
        event.add("senderId", user: sender)
        guard receiver == sender || send(&event, to: receiver, message, connection) else { return }
        answer(&event, message, connection)
    }

    @discardableResult
    private func send(
        _ event: inout EventDraft, to user: UserID, _ message: borrowing Message,
        _ connection: borrowing Connection
    ) -> Bool {
        do throws(SendError) {
            try connection.send(&event, to: user)
            return true
        } catch {
            refused(error, message, connection)
            return false
        }
    }

    /// To the sender's own devices; the one that asked gets its request's ID.
    private func answer(
        _ event: inout EventDraft, _ message: borrowing Message, _ connection: borrowing Connection
    ) {
        do throws(SendError) { try connection.send(&event, to: sender, answering: message) } catch {
            refused(error, message, connection)
        }
    }

    private func refused(
        _ error: SendError, _ message: borrowing Message, _ connection: borrowing Connection
    ) {
        switch error {
        case .overloaded:
            connection.fail(.internalError, "the node is overloaded: retry in a moment", for: message)
        case .tooLarge:
            connection.fail(.validation, "message is too large", for: message)
        }
    }
}
