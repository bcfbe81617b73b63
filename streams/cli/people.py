"""Names of people in a text: local parts of addresses, logins, and subjects. One stand-in for each name."""

import re
from collections import Counter
from itertools import islice
from typing import Final

NAME: Final = "name of a person"
MAIL_TEXT: Final = "text of a mail"
PEOPLE_KEYS: Final = frozenset(
    {"who", "by", "sender", "recipient", "user", "login", "sasl_user", "sasl_username", "sasl_sender"}
)
"""Under what JSON and TOML of ours have a person."""

PROGRAMS: Final = ("goaway", "uid ")
"""How a change begins that no person is named for."""

_LABEL: Final = (
    r"(?:from|to|orig_to|sender|recipient|rcpt|rcpts|mime_rcpts|mail|addr|address|user|ruser|username|login"
    r"|account|sasl_username|sasl_sender|who|by)"
)
_QUOTED: Final = r"\"(?:[^\"\\\n]|\\[^\n]){0,320}\""
"""RFC 5321, `Quoted-string`: any character may be in it."""
_DOMAIN: Final = r"[^\s<>@\",;()]*"
_ENDS: Final = r">(?=$|[,;:.](?:\s|$)|[^\S\n]+(?:[a-z_]+=|[(\[{<-])|[)\]}\"'\\])"
"""The `>` that ends an address rather than stands in it."""

_RUN: Final = r"(?:(?!>[,;:)]*<)\S){1,320}?"
"""A local part without spaces: a `>` in it does not end it while a domain follows."""

_REFUSED: Final = re.compile(
    r"( \d{3}(?: \d\.\d{1,3}\.\d{1,3})? <)([^\n]{1,640})(?=>: (?:Sender|Recipient) address )"
)
"""The address that smtpd refuses, whatever is in it."""
_UNIT: Final = re.compile(
    rf"\b({_LABEL}[=:] ?<)"
    rf"({_QUOTED}@{_DOMAIN}(?=>)|{_RUN}@{_DOMAIN}(?=>)|[^\n]{{0,640}}?(?={_ENDS})|[^>\n]*)",
    re.MULTILINE,
)
"""`from=<…>`, whatever is in it, and what there is of it where the line was cut within."""
_ANGLE: Final = re.compile(
    rf"(?<![^\s=:(\[,;\"'{{\\])<({_QUOTED}|{_RUN}|(?:(?!>(?:[\s,;:)]|$))[^\n]){{1,320}}?)(?=@{_DOMAIN}>)",
    re.MULTILINE,
)
"""`<…@domain>` without a label in front."""
_STRING: Final = re.compile(rf"(\\\"[^\"\n]{{1,320}}?\\\"|{_QUOTED})(?=@[\w\[])")
_BARE: Final = re.compile(r"(?<![^\s<>@\",;:\\])[^\s<>@\",;:\\]+(?=@[\w\[])")
_OPENS: Final = re.compile(rf"(?:[\[({{'`|]|\b{_LABEL}=)*", re.IGNORECASE)
"""What stands in front of an address that is not in `<>`."""

_REST: Final = r"[^\n]{640,}"
"""Where a name's end is not within 640 characters: all there is. No expression looks further for an end,
for it would look as far again from each beginning in the line."""

_LOGIN_LINES: Final = re.compile(
    r"((?:\bsasl_method=[^\s,]*|\bauthentication (?:failed|aborted)[^\n]{0,640}?), sasl_username=)"
    r"(?!<)([^\n]*?)(?=, sasl_sender=|, orig_queue_id=|, orig_client=|$)",
    re.MULTILINE,
)
"""smtpd's, where a login ends with the line: a client may have put anything in it."""
_SENDER_LINES: Final = re.compile(
    r"(, sasl_sender=)(?!<)([^\n]*?)(?=, orig_queue_id=|, orig_client=|$)", re.MULTILINE
)
_LOGINS: Final = re.compile(
    r"\b((?:sasl_username|sasl_sender|ruser|user|login)=(?:\\?\")?)([^\s<>,;\]\"\\]+)"
)
_SENTENCES: Final = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(rejected: not owned by user )([^\n]+?)(?=; |$)",
        r"((?i:unknown user|user unknown|unknown username): \\?\")"
        rf"([^\n]{{0,640}}?(?=\\?\"(?:[\s)]|$))|{_REST})",
        r"((?i:unknown user|user unknown|unknown username): )([^\s\\\")][^\s\")]*)",
        rf"(' user `)([^\n]{{0,640}}?(?=' pass `)|{_REST})",
        r"(/(?:sendmail|postdrop|postqueue)\[\d+\]: (?:fatal|warning|error): )([^\s()]+)(?=\(\d+\): )",
        rf"(\[user=)([^\n]{{0,640}}?(?=\] \[service=)|{_REST})",
        rf"(\bip: [^\s,]+, user: )([^\n]{{1,640}}?(?=, (?:from|smtp_from|mime_from): )|{_REST})",
        r"(\bspamd\[\d+\]: spamd: [^\n]{0,1100}?\b(?:for|setuid to) )([^\s:]+)",
        r"(\b(?:lmtp|lda|imap|pop3|sieve|managesieve|submission|imap-login|pop3-login|submission-login"
        r"|doveadm|sql|pam|ldap|passwd-file|passwd|shadow|lua|static|quota-status|indexer-worker"
        r"|auth-worker)\((?:\d+, )?)(?!\d+\))([^\n]{1,320}?)(?=(?:,[^()\n]*)?\)(?:[<:\[]|\s|$))",
        r"(\b(?:by|who)\\?\"? {0,2}[=:] {0,2}(?:\\?\"|'))(?!goaway\b|uid \d)([^\"'\\\n]{1,256})(?=\\?\"|')",
    )
)
"""Where a name stands by itself: (what is before it)(it)."""
_MAIL: Final = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^((?>[^\n]*?: (?:replace|prepend): (?:(?:mime-|nested-)?header|body) )[^\n]* helo=<[^\s>]*>: )"
        r"([^\n]+)",
        r"(: (?:(?:mime-|nested-)?header|body|mime-error [^\n:]{0,80}:) )([^\n]*?)"
        r"(?=(?: from [^\s;]+)?; from=<(?![^\n]{0,640}; from=<)|$)",
        r"(\b[Ss]ubject\\?\"?: ?)(\\?\"[^\"\n]*\"|[^\n]+?(?=\\{1,4}[rn]| from [^\s;]+; from=<|$))",
        r"(Illegal address syntax from \S+ in \S+ command: )([^\n]+)",
        r"((?:bad|reject:) ETRN )([^\n]{1,100}?)(?=\.\.\. from )",
    )
)
"""What cleanup and smtpd quote, up to the last thing in the line that is Postfix's own."""
_MOST_RECIPIENTS: Final = 32
"""A line of a delivery has two: `to=<…>, orig_to=<…>`."""
_SAID: Final = re.compile(r"^([^\n]*?\bsaid: )([^\n]*)$", re.MULTILINE)


class People:
    """Gives numbers to names and counts what it took out."""

    def __init__(self, removed: Counter[str], mark: str) -> None:
        self._removed, self._mark = removed, mark
        self._numbers: dict[str, int] = {}

    def without(self, text: str) -> str:
        """The text without names and subjects."""
        for pattern in _MAIL:
            text = pattern.sub(self._mail_text, text)
        text = _SAID.sub(self._answer, text)
        for pattern in (_REFUSED, _UNIT, _LOGIN_LINES, _SENDER_LINES, _LOGINS, *_SENTENCES):
            text = pattern.sub(lambda it: it[1] + self.person(it[2]), text)
        text = _ANGLE.sub(lambda it: f"<{self._numbered(it[1])}", text)
        text = _STRING.sub(lambda it: self._numbered(it[1]), text)
        return _BARE.sub(self._bare, text)

    def person(self, name: str) -> str:
        """A stand-in for a login or an address, whose domain stays."""
        local, at, domain = name.rpartition("@")
        if not at:
            return self._numbered(name) if name else ""
        if not re.fullmatch(_DOMAIN, domain):
            return self._numbered(name)
        return f"{self._numbered(local)}@{domain}" if local else name

    def under(self, key: str, text: str) -> str:
        """A clean text under a key of JSON that may say it is a person or a subject."""
        if key == "subject" and text:
            return self._mark
        program = text.startswith(PROGRAMS) or text == self._mark
        return text if key not in PEOPLE_KEYS or program else self.person(text)

    def _bare(self, found: re.Match[str]) -> str:
        text = found.group()
        opens = _OPENS.match(text)
        before = opens.group() if opens else ""
        name = text[len(before) :]
        if not name or text.endswith(self._mark) or re.search(r"(?:^|[^\w.-])person-\d+$", name):
            return text
        return before + self._numbered(name)

    def _answer(self, found: re.Match[str]) -> str:
        """Another server's answer may name the recipient without the domain."""
        before, said = found.groups()
        addresses = (it[2] for it in islice(_UNIT.finditer(before), _MOST_RECIPIENTS))
        locals_ = {local for it in addresses if len(local := it.rpartition("@")[0] or it) > 2}
        if locals_:
            any_of = "|".join(re.escape(it) for it in sorted(locals_, key=lambda it: (-len(it), it)))
            name = rf"(?<![\w.@-])(?:{any_of})(?!\w|[.-]\w)"
            said = re.sub(name, lambda it: self._numbered(it.group()), said, flags=re.IGNORECASE)
        return str(before + said)

    def _mail_text(self, found: re.Match[str]) -> str:
        if found[2] == self._mark:
            return found.group()
        self._removed[MAIL_TEXT] += 1
        return f"{found[1]}{self._mark}"

    def _numbered(self, name: str) -> str:
        """The same stand-in for the same name, so that who is who can still be followed."""
        if re.fullmatch(r"person-\d+", name):
            return name
        self._removed[NAME] += 1
        return f"person-{self._numbers.setdefault(_plain(name), len(self._numbers) + 1)}"


def _plain(name: str) -> str:
    """A name as it is compared: without the quotes that RFC 5321 puts around some."""
    plain = name.strip().removeprefix("\\").removesuffix('"').removesuffix("\\").removeprefix('"')
    return re.sub(r"\\(.)", r"\1", plain).casefold()
