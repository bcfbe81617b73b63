"""What a client sent, where a mail log quotes it: a command's verb stays, what came after it does not."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_WHO: Final = r"[^\s\[]{0,255}\[[^\]\s]*\](?::\d+)?"
"""`name[address]` or `[address]`, with a port or without."""
_MECHANISM: Final = (
    r"(?:PLAIN|LOGIN|CRAM-MD5|DIGEST-MD5|SCRAM-[A-Z0-9-]+|NTLM|GSSAPI|GSS-SPNEGO|SPNEGO|KERBEROS_V4"
    r"|EXTERNAL|ANONYMOUS|OAUTHBEARER|XOAUTH2?|OTP|SRP|APOP)"
)
_END: Final = r"\\{1,4}r(?:\\{1,4}n)?|\\{1,4}n"
"""The end of a command, as a log writes it: `\\r\\n`, in JSON or a repr with more backslashes."""

_VERBS: Final = (
    r"HELO|EHLO|LHLO|MAIL(?: FROM)?|RCPT(?: TO)?|RSET|NOOP|QUIT|VRFY|EXPN|HELP|TURN|ETRN|STARTTLS|XCLIENT"
    r"|XFORWARD|BURL|GET|POST|HEAD|PUT|OPTIONS|CONNECT|TRACE|PRI|CAPABILITY|USER|CAPA|STAT|LIST"
)
_HEADERS: Final = (
    r"From|To|Cc|Bcc|Subject|Date|Message-ID|Received|Return-Path|Reply-To|Sender|MIME-Version|User-Agent"
    r"|Content-Type|Content-Transfer-Encoding|Content-Disposition|DKIM-Signature|X-Mailer|Host|Accept"
)
_KNOWN: Final = re.compile(rf"(?:(?:{_VERBS})(?=[\s:?]|$)|(?:{_HEADERS}):)", re.IGNORECASE)
_CONTENT: Final = re.compile(r"(?:DATA|BDAT)(?=[\s?]|$)", re.IGNORECASE)
"""After it comes a mail."""
_AUTH: Final = re.compile(rf"(?:PASS|AUTH(?: {_MECHANISM}(?![A-Z0-9-]))?)(?=[\s?]|$)", re.IGNORECASE)
"""After it come a login and a password, in as many lines as they take."""
_REPLY: Final = re.compile(r"(?!334)[2-5]\d\d(?:[ -]|$)")

_QUOTES: Final = re.compile(
    rf"(?:command pipelining after (?P<smtpd>[^\n:]{{1,60}}?) from {_WHO}: "
    rf"|COMMAND PIPELINING from {_WHO} after (?P<postscreen>[^\s:]+): "
    rf"|non-SMTP command from {_WHO}: "
    rf"|NON-SMTP COMMAND from {_WHO} after [^\s:]+: "
    rf"|PREGREET \d+ after \S+ from {_WHO}: "
    rf"|(?:BARE NEWLINE|COMMAND (?:TIME|COUNT|LENGTH) LIMIT) from {_WHO} after "
    r"|request longer than \d+: "
    rf"|malformed BDAT command syntax from {_WHO}: "
    r"|replacing command (?=\")"
    rf"|(?P<server>/(?:smtp|lmtp)\[\d+\]: <|(?:^|(?<=\]: ))>) {_WHO}: "
    rf"|(?:^|(?<=\]: ))[<>] {_WHO}: "
    r")(?P<said>.*)",
    re.MULTILINE,
)
"""The lines of smtpd and postscreen, and the traces of `-v` and `debug_peer_list`, which smtp writes, too."""

_CREDENTIALS: Final = re.compile(
    rf"(?P<opening>(?i:\bAUTH[ \t]+{_MECHANISM}(?=[ \t]|{_END}))|\bAUTH [A-Z][A-Z0-9_-]{{2,}}(?=[ \t]|{_END})"
    r"|\bsasl_method \S+, init_response(?= )"
    r"|\b(?:de|un)coded (?:initial )?(?:reply|response|challenge|client response|server challenge):?(?= )"
    r"|\bclient in: (?:AUTH|CONT)\b"
    r"|\b(?:read|write) netstring(?: len \d+)? data(?= )"
    r"|: type \S len -?\d+ data(?= ))(?P<said>.*)"
)
"""Where credentials follow up to the end of the line: `AUTH`, what Postfix's and Dovecot's traces decode, and
the records that a trace shows."""
_ONLY_MECHANISMS: Final = re.compile(rf"(?:[ \t]+{_MECHANISM})*\s*", re.IGNORECASE)
"""As in the answer `250-AUTH PLAIN LOGIN`, which is an offer."""
_OFFER: Final = re.compile(r"\d[- ]\Z")
_BETWEEN: Final = re.compile(rf"{_END}|[\s\"',;]+")
_ANSWERS: Final = 2
"""After `AUTH LOGIN` come a login and a password, after any other mechanism one answer."""
_MAX_OPENING: Final = 16_384
"""So much of what follows `AUTH` is looked at for answers."""
ANSWER: Final = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{8,4096}={0,2}(?![A-Za-z0-9+/=])")
"""An answer to a challenge, as a word of its own."""

CREDENTIALS: Final = "secret"
SENT: Final = "what a client sent"


@dataclass(frozen=True, slots=True)
class Quoted:
    """A place in a text where a client is quoted."""

    start: int
    end: int
    clean: str
    """What may stand there."""
    kind: str
    """`CREDENTIALS`, or `SENT` where no credentials were seen."""
    shows: tuple[str, ...] = ()
    """The answers to challenges in it. Nothing else of what a client sent is looked for in other places."""


def replaced(text: str, places: Iterable[Quoted], removed: Counter[str]) -> str:
    """The text with every quotation clean; what was removed is counted."""
    pieces, last = list[str](), 0
    for one in places:
        removed[one.kind] += text[one.start : one.end] != one.clean
        pieces += [text[last : one.start], one.clean]
        last = one.end
    return "".join((*pieces, text[last:]))


def quoted(text: str, mark: str, *, whole: bool) -> Iterator[Quoted]:
    """Where a log quotes commands. `whole` leaves them in, credentials and what may be such apart."""
    for found in _QUOTES.finditer(text):
        said = found["said"]
        if found["server"] and _REPLY.match(said):
            continue
        after = (found["smtpd"] or found["postscreen"] or "").upper()
        if after.startswith("AUTH") and said:
            clean, rest, kind = mark, said, CREDENTIALS
        elif after.startswith(("DATA", "BDAT")) and said and not whole:
            clean, rest, kind = mark, "", SENT
        else:
            clean, rest, kind = _commands(said, mark, whole=whole)
        yield Quoted(found.start("said"), found.end("said"), clean, kind, _answers(rest))


def credentials(text: str, mark: str) -> Iterator[Quoted]:
    """Where credentials follow up to the end of a line, outside of what `quoted` finds."""
    for found in _CREDENTIALS.finditer(text):
        said = found["said"]
        offered = _OFFER.search(text, max(found.start() - 2, 0), found.start())
        if not said.strip() or (offered and _ONLY_MECHANISMS.fullmatch(said)):
            continue
        yield Quoted(found.start("said"), found.end("said"), f" {mark}", CREDENTIALS, _answers(said))


def _answers(said: str) -> tuple[str, ...]:
    """What decodes as an answer among the first words after `AUTH`: a client cannot have others removed."""
    words = [word for word in _BETWEEN.split(said[:_MAX_OPENING]) if word][:_ANSWERS]
    return tuple(word for word in words if _is_answer(word))


def _is_answer(word: str) -> bool:
    """Base64 of a login, of a password, or of `\\0login\\0password`."""
    if len(word) % 4 or not ANSWER.fullmatch(word):
        return False
    try:
        text = base64.b64decode(word, validate=True).decode()
    except ValueError:
        return False
    return text.translate({0: None, 1: None}).isprintable()  # 1 is what OAuth's answers have between


def _commands(said: str, mark: str, *, whole: bool) -> tuple[str, str, str]:
    """(what may stay of a client's lines, credentials among the rest, kind of what was removed)."""
    lines = re.split(f"({_END})", said)
    kept: list[str] = []
    for place in range(0, len(lines), 2):
        line, end = lines[place], "".join(lines[place + 1 : place + 2])
        opening = line[: len(line) - len(line.lstrip(' "'))]
        command = line[len(opening) :]
        auth = _AUTH.match(command)
        if (found := auth or (None if whole else _CONTENT.match(command))) is not None:
            rest = command[found.end() :] + end + "".join(lines[place + 2 :])
            nothing = not re.sub(_END, "", rest).strip()
            kept.append(opening + found.group() + (rest if nothing else f" {mark}"))
            return "".join(kept), rest if auth else "", CREDENTIALS if auth else SENT
        found = _KNOWN.match(command)
        if command in {"", "."}:
            kept.append(line + end)
        elif found is None and _CONTENT.match(command) is None:
            # may be all that is left of a login: what stands between a challenge and its answer
            kept.append(f"{opening}{mark}")
            break
        elif whole or found is None or not command[found.end() :].strip(" :"):
            kept.append(line + end)
        else:
            kept.append(f"{opening}{found.group()} {mark}{end}")
    return "".join(kept), "", SENT
