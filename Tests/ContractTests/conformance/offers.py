"""What was agreed on permessage-deflate, read strictly from the server's answer: RFC 7692 §7.1."""

from dataclasses import dataclass

PARAMETERS = {
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
}


@dataclass(frozen=True)
class Agreement:
    server_takeover: bool = True
    client_takeover: bool = True
    server_bits: int = 15
    client_bits: int = 15


def parameters_of(element: str) -> tuple[str, dict[str, str | None]]:
    """The name and parameters of one extension; an assertion holds that none comes twice."""
    name, *rest = (part.strip() for part in element.split(";"))
    parameters = {}
    for part in rest:
        key, _, value = part.partition("=")
        key = key.strip()
        assert key not in parameters, f"{key} comes twice in {element!r}"
        parameters[key] = value.strip().strip('"') or None
    return name, parameters


def agreement(offered: str | None, answer: str | None) -> Agreement | None:
    """None when the extension is not in use. Fails when no offer allows the answer."""
    if answer is None:
        return None
    assert offered, f"{answer!r} was not asked for"
    name, chosen = parameters_of(answer)
    assert name == "permessage-deflate" and "," not in answer, answer
    assert set(chosen) <= PARAMETERS, answer
    for key in ("server_no_context_takeover", "client_no_context_takeover"):
        assert chosen.get(key) is None, f"{key} takes no value: {answer!r}"
    for key in ("server_max_window_bits", "client_max_window_bits"):
        if key in chosen:
            assert chosen[key] in map(str, range(8, 16)), f"{key}: {answer!r}"
    fitting = [offer for offer in offered.split(",") if allows(offer, chosen)]
    assert fitting, f"no offer in {offered!r} allows {answer!r}"
    return Agreement(
        "server_no_context_takeover" not in chosen,
        "client_no_context_takeover" not in chosen,
        int(chosen.get("server_max_window_bits") or 15),
        int(chosen.get("client_max_window_bits") or 15),
    )


def allows(offer: str, chosen: dict) -> bool:
    try:
        name, asked = parameters_of(offer)
    except AssertionError:
        return False  # a parameter that comes twice: such an offer has to be declined
    if name != "permessage-deflate" or not set(asked) <= PARAMETERS:
        return False
    if "server_no_context_takeover" in asked and "server_no_context_takeover" not in chosen:
        return False
    if bits := asked.get("server_max_window_bits"):
        if int(chosen.get("server_max_window_bits") or 15) > int(bits):
            return False
    if "client_max_window_bits" in chosen:
        if "client_max_window_bits" not in asked:
            return False
        if int(chosen["client_max_window_bits"]) > int(asked["client_max_window_bits"] or 15):
            return False
    return True
