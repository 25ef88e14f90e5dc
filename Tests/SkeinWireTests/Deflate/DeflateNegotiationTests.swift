import SkeinWire
import Testing

@Suite struct DeflateNegotiationTests {
    /// Asks for nothing itself, so that answers show what the offer made necessary.
    static let generous = DeflateSettings(serverNoContextTakeover: false, clientNoContextTakeover: false)

    static func answer(_ offer: String, _ settings: DeflateSettings) -> String? {
        guard let parameters = DeflateNegotiation.accept(offer: offer.bytes.span, settings: settings)
        else { return nil }
        return string(
            written(capacity: DeflateNegotiation.headerBytesMax) {
                DeflateNegotiation.writeAnswer(parameters, into: &$0)
            })
    }

    static let accepted: [(String, String)] = [
        ("permessage-deflate", ""),
        (" permessage-deflate\t", ""),
        ("permessage-deflate; client_max_window_bits", ""),
        ("permessage-deflate;client_max_window_bits", ""),
        ("permessage-deflate ;\tclient_max_window_bits ", ""),
        ("permessage-deflate; client_max_window_bits=15", ""),
        ("permessage-deflate; client_max_window_bits = 15", ""),
        ("permessage-deflate; client_max_window_bits=\"15\"", ""),
        ("permessage-deflate; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=\"10\"", "; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=\"1\\0\"", "; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=8", "; client_max_window_bits=8"),
        ("permessage-deflate; client_max_window_bits=9", "; client_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=\"15\"", "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=9", "; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=12", "; server_max_window_bits=12"),
        ("permessage-deflate; server_no_context_takeover", "; server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "; client_no_context_takeover"),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover"
        ),
        (
            "permessage-deflate; client_max_window_bits=11; server_max_window_bits=10",
            "; server_max_window_bits=10; client_max_window_bits=11"
        ),
        (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits; "
                + "server_no_context_takeover; client_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10"
        ),
        // Preference: the first that can be kept.
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", "; server_max_window_bits=10"),
        ("permessage-deflate, permessage-deflate; server_max_window_bits=10", ""),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", ""),
        (
            "permessage-deflate; mux=1, permessage-deflate; client_max_window_bits=9",
            "; client_max_window_bits=9"
        ),
        ("permessage-deflate; client_max_window_bits=16,permessage-deflate", ""),
        ("permessage-bzip2, permessage-deflate", ""),
        (
            "x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover",
            "; server_no_context_takeover"
        ),
        ("mux; max-channels=4; flow-control, permessage-deflate", ""),
        ("foo; bar=\"a,b\", permessage-deflate", ""),
        (
            "foo; bar=\"a\\\", permessage-deflate; x=\\\"\", permessage-deflate; server_max_window_bits=11",
            "; server_max_window_bits=11"
        ),
        (", ,permessage-deflate,", ""),
        ("@, =, ;, permessage-deflate", ""),
    ]

    @Test(arguments: accepted) func accepts(offer: String, answer: String) {
        #expect(Self.answer(offer, Self.generous) == "permessage-deflate" + answer)
        #expect(Self.answer(offer, DeflateSettings(isEnabled: false)) == nil)
    }

    @Test(arguments: [
        "",
        " , ,\t,",
        "permessage-deflat",
        "permessage-deflate2",
        "Permessage-Deflate",
        "permessage deflate",
        "\"permessage-deflate\"",
        "permessage-deflate=1",
        "permessage-deflate;",
        "permessage-deflate; ;client_max_window_bits",
        "permessage-deflate; client_max_window_bits;",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=15",
        "permessage-deflate; Client_Max_Window_Bits",
        "permessage-deflate; client_max_window_bits client_no_context_takeover",
        // Twice.
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        // Values on flags.
        "permessage-deflate; server_no_context_takeover=",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover=\"\"",
        // Numbers.
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=0",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=-9",
        "permessage-deflate; server_max_window_bits=9.0",
        "permessage-deflate; server_max_window_bits=1 0",
        "permessage-deflate; server_max_window_bits=15a",
        "permessage-deflate; server_max_window_bits=266",
        "permessage-deflate; server_max_window_bits=18446744073709551626",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=\"\"",
        "permessage-deflate; client_max_window_bits=\"015\"",
        "permessage-deflate; client_max_window_bits=\" 15\"",
        "permessage-deflate; client_max_window_bits=\"15",
        "permessage-deflate; client_max_window_bits=\"15\\",
        "permessage-deflate; client_max_window_bits=\"15\"5",
        "permessage-deflate; client_max_window_bits=15\"",
        "permessage-deflate; client_max_window_bits='15'",
        // What stands within quotes is no offer.
        "foo; bar=\"x, permessage-deflate",
        "foo; bar=\", permessage-deflate, \"",
    ])
    func declines(offer: String) {
        #expect(Self.answer(offer, Self.generous) == nil)
        #expect(Self.answer("foo, " + offer, DeflateSettings()) == nil)
    }

    @Test(arguments: [
        ("permessage-deflate", ""),
        ("permessage-deflate; client_max_window_bits", "; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=9", "; client_max_window_bits=9"),
        ("permessage-deflate; client_max_window_bits=15", "; client_max_window_bits=10"),
    ])
    func addsWhatTheServerWants(offer: String, clientBits: String) {
        #expect(
            Self.answer(offer, DeflateSettings())
                == "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
                + (clientBits.hasSuffix("=9") ? clientBits : ""))
        let narrow = DeflateSettings(
            clientNoContextTakeover: false, serverWindowBits: 12, clientWindowBits: 10)
        #expect(
            Self.answer(offer, narrow)
                == "permessage-deflate; server_no_context_takeover; server_max_window_bits=12" + clientBits)
        #expect(
            Self.answer(offer + "; server_max_window_bits=11", narrow)
                == "permessage-deflate; server_no_context_takeover; server_max_window_bits=11" + clientBits)
        #expect(
            Self.answer(offer + "; server_max_window_bits=13", narrow)
                == "permessage-deflate; server_no_context_takeover; server_max_window_bits=12" + clientBits)
    }

    @Test func anyBytesAreAnswered() {
        var generator = SeededGenerator(seed: 7692)
        let parts = [
            "permessage-deflate", ";", ",", "=", "\"", "\\", " ", "client_max_window_bits",
            "server_max_window_bits", "8", "10", "15", "server_no_context_takeover", "\u{0}", "é",
        ]
        var taken = 0
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...9, using: &generator)
            let offer = (0..<count).map { _ in parts.randomElement(using: &generator)! }.joined()
            if let answer = Self.answer(offer, Self.generous) {
                taken += 1
                #expect(answer.hasPrefix("permessage-deflate"))
                #expect(offer.contains("permessage-deflate"))
            }
        }
        #expect(taken > 100)
    }
}

extension DeflateNegotiationTests {
    static func check(
        _ answer: String, _ settings: DeflateSettings
    ) -> Result<DeflateParameters?, DeflateAnswerError> {
        do throws(DeflateAnswerError) {
            return .success(try DeflateNegotiation.check(answer: answer.bytes.span, settings: settings))
        } catch {
            return .failure(error)
        }
    }

    static func offer(_ settings: DeflateSettings) -> String {
        string(
            written(capacity: DeflateNegotiation.headerBytesMax) {
                DeflateNegotiation.writeOffer(settings, into: &$0)
            })
    }

    static func allSettings() -> [DeflateSettings] {
        var all: [DeflateSettings] = []
        for takeover in 0..<4 {
            for (server, client) in [(15, 15), (9, 8), (9, 15), (12, 11), (15, 9)] as [(UInt8, UInt8)] {
                all.append(
                    DeflateSettings(
                        serverNoContextTakeover: takeover & 1 != 0,
                        clientNoContextTakeover: takeover & 2 != 0, serverWindowBits: server,
                        clientWindowBits: client))
            }
        }
        return all
    }

    @Test func ourTwoEndsAgree() {
        for client in Self.allSettings() {
            for server in Self.allSettings() {
                let offer = Self.offer(client)
                guard
                    let parameters = DeflateNegotiation.accept(offer: offer.bytes.span, settings: server)
                else {
                    Issue.record("\(offer) was declined")
                    continue
                }
                #expect(parameters.serverNoContextTakeover || !client.serverNoContextTakeover)
                #expect(parameters.serverWindowBits <= client.serverWindowBits)
                let answer = Self.answer(offer, server) ?? ""
                // A server may ask for a window of 8, which our client cannot compress with.
                if parameters.clientWindowBits == 8 {
                    #expect(Self.check(answer, client) == .failure(.unacceptable))
                } else {
                    #expect(Self.check(answer, client) == .success(parameters))
                }
            }
        }
    }

    @Test func offersSayWhatTheClientWants() {
        #expect(
            Self.offer(DeflateSettings())
                == "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                + "client_max_window_bits")
        #expect(Self.offer(Self.generous) == "permessage-deflate; client_max_window_bits")
        let narrow = DeflateSettings(serverWindowBits: 10, clientWindowBits: 12)
        #expect(
            Self.offer(narrow)
                == "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                + "server_max_window_bits=10; client_max_window_bits=12")
    }

    @Test func boundHoldsTheLongestValue() {
        let longest = DeflateParameters(
            serverNoContextTakeover: true, clientNoContextTakeover: true, serverWindowBits: 10,
            clientWindowBits: 10)
        let answer = written { DeflateNegotiation.writeAnswer(longest, into: &$0) }
        #expect(answer.count == DeflateNegotiation.headerBytesMax)
    }

    @Test(arguments: [
        ("foo", DeflateAnswerError.malformed),
        ("permessage-deflate, permessage-deflate", .malformed),
        ("permessage-deflate, foo", .malformed),
        ("permessage-deflate; unknown", .malformed),
        ("permessage-deflate; client_max_window_bits", .malformed),
        ("permessage-deflate; server_max_window_bits=8; server_max_window_bits=8", .malformed),
        ("permessage-deflate; server_max_window_bits=16", .malformed),
        ("permessage-deflate; client_max_window_bits=8", .unacceptable),
    ])
    func refusesBadAnswers(answer: String, error: DeflateAnswerError) {
        #expect(Self.check(answer, Self.generous) == .failure(error))
    }

    @Test func refusesLessThanWasOffered() {
        let strict = DeflateSettings(serverWindowBits: 11, clientWindowBits: 11)
        let good = "permessage-deflate; server_no_context_takeover; server_max_window_bits=11"
        #expect(
            Self.check(good, strict)
                == .success(
                    DeflateParameters(
                        serverNoContextTakeover: true, clientNoContextTakeover: true,
                        serverWindowBits: 11, clientWindowBits: 11)))
        for bad in [
            "permessage-deflate", "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
            good + "; client_max_window_bits=12", good + "; client_max_window_bits=8",
        ] {
            #expect(Self.check(bad, strict) == .failure(.unacceptable), "\(bad)")
        }
        #expect(Self.check("", strict) == .success(nil))
        #expect(Self.check(" , ", strict) == .success(nil))
        let disabled = DeflateSettings(isEnabled: false)
        #expect(Self.check("permessage-deflate", disabled) == .failure(.unacceptable))
        // A server's window of 8 is ours to read.
        let narrow = Self.check("permessage-deflate; server_max_window_bits=8", Self.generous)
        #expect((try? narrow.get())?.serverWindowBits == 8)
    }
}
