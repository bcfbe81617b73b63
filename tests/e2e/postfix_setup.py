"""What a private Postfix is to be: the choices of a test, and the main.cf and master.cf they amount to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOSTNAME: Final = "mx1.example.org"
DOMAIN: Final = "example.org"
QUEUE_NAMES: Final = [
    "active",
    "bounce",
    "corrupt",
    "defer",
    "deferred",
    "flush",
    "hold",
    "incoming",
    "private",
    "saved",
    "trace",
    "maildrop",
    "public",
    "pid",
]
NOBODY_TRUSTED: Final = "127.255.255.254/32"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Loopback ports of one instance, both address families where IPv6 loopback exists."""

    smtp: int
    postscreen: int
    submission: int
    smtps: int


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The choices of a test. Anything else of main.cf goes into `main`, which wins."""

    policy: str = ""
    """`inet:127.0.0.1:PORT` or `unix:/path`: who is asked at connect and at RCPT. Empty: nobody."""
    delay_reject: bool = False
    """`smtpd_delay_reject`: Postfix's default is yes, with which a refusal at connect waits for RCPT."""
    port_logging: bool = False
    """`smtpd_client_port_logging`."""
    recipients: tuple[str, ...] = ()
    """The local parts that exist in `example.org`; empty: all do."""
    limits: bool = False
    """Leave Postfix's own client limits (anvil) at their defaults instead of switching them off."""
    names: Mapping[str, str] = field(default_factory=dict)
    """address → verified host name, as reverse DNS would say (a hosts file inside smtpd's chroot)."""
    log_elsewhere: bool = False
    """The caller binds `LabDirectories.postlog` and receives the log itself: no postlogd, no log file."""
    main: Mapping[str, str] = field(default_factory=dict)

    @property
    def chroot(self) -> bool:
        """Debian runs smtpd in a chroot, where a policy socket outside of it could not be reached."""
        return not self.policy.startswith("unix:/")


@dataclass(frozen=True)
class LabDirectories:
    """Where one instance lives; everything is below `root`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "etc"

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "log" / "mail.log"

    @property
    def postlog(self) -> Path:
        """The datagram socket to which every Postfix process writes its log lines."""
        return self.queue / "public" / "postlog"

    @property
    def auth(self) -> Path:
        """The SASL server's socket."""
        return self.queue / "private" / "auth"

    @property
    def certificate(self) -> Path:
        return self.config / "lab.pem"


def main_cf(setup: Setup, where: LabDirectories, *, ipv6: bool) -> str:
    """The text of main.cf."""
    asked = f"check_policy_service {setup.policy}" if setup.policy else ""
    settings: dict[str, str] = {
        "compatibility_level": "3.6",
        "config_directory": str(where.config),
        "queue_directory": str(where.queue),
        "data_directory": str(where.data),
        "maillog_file": str(where.log),
        "maillog_file_prefixes": str(where.root),
        "myhostname": HOSTNAME,
        "mydestination": f"{HOSTNAME}, {DOMAIN}",
        "mynetworks": NOBODY_TRUSTED,
        "inet_interfaces": "127.0.0.1, ::1" if ipv6 else "127.0.0.1",
        "inet_protocols": "all" if ipv6 else "ipv4",
        "alias_maps": "",
        "local_recipient_maps": _recipients(setup.recipients),
        "local_transport": "discard:",
        "default_transport": "discard:",
        "relay_transport": "discard:",
        "smtpd_delay_reject": _yes(setup.delay_reject),
        "smtpd_client_port_logging": _yes(setup.port_logging),
        "smtpd_client_restrictions": asked,
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject_unauth_destination",
        "smtpd_recipient_restrictions": asked,
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(where.certificate),
        "smtpd_tls_loglevel": "1",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": "private/auth",
        "smtpd_error_sleep_time": "0",
        "postscreen_greet_wait": "1s",
        "postscreen_greet_action": "enforce",
        "postscreen_access_list": "permit_mynetworks",
        "postscreen_cache_map": f"btree:{where.data}/postscreen_cache",
        "postscreen_upstream_proxy_protocol": "",
    }
    if not setup.limits:
        settings |= {
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "smtpd_client_recipient_rate_limit": "0",
            "smtpd_client_new_tls_session_rate_limit": "0",
            "smtpd_client_auth_rate_limit": "0",
            "postscreen_client_connection_count_limit": "0",
        }
    return "".join(f"{name} = {value}\n" for name, value in (settings | dict(setup.main)).items())


def master_cf(setup: Setup, ports: Ports) -> str:
    """The text of master.cf: `service type private unprivileged chroot wakeup limit command`."""
    return "".join(f"{line}\n" for line in _services(setup, ports))


def _services(setup: Setup, ports: Ports) -> Iterator[str]:
    jail = "y" if setup.chroot else "n"
    signed_in = (
        " -o smtpd_sasl_auth_enable=yes -o smtpd_tls_auth_only=no"
        " -o smtpd_client_restrictions= -o smtpd_recipient_restrictions="
        " -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
    )
    yield f"{ports.smtp} inet n - {jail} - 200 smtpd"
    yield f"{ports.postscreen} inet n - {jail} - 1 postscreen"
    yield f"smtpd pass - - {jail} - 200 smtpd"
    yield f"{ports.submission} inet n - {jail} - 50 smtpd -o syslog_name=postfix/submission{signed_in}"
    yield (
        f"{ports.smtps} inet n - {jail} - 50 smtpd -o syslog_name=postfix/smtps"
        f" -o smtpd_tls_wrappermode=yes{signed_in}"
    )
    for name in ("cleanup", "bounce", "discard", "error", "dnsblog", "tlsproxy"):
        yield f"{name} unix {'n' if name == 'cleanup' else '-'} - n - 0 {name}"
    yield "defer unix - - n - 0 bounce"
    yield "trace unix - - n - 0 bounce"
    yield "retry unix - - n - - error"
    yield "qmgr unix n - n 300 1 qmgr"
    yield "rewrite unix - - n - - trivial-rewrite"
    yield "proxymap unix - - n - - proxymap"
    yield "tlsmgr unix - - n 1000? 1 tlsmgr"
    yield "anvil unix - - n - 1 anvil"
    if not setup.log_elsewhere:
        yield "postlog unix-dgram n - n - 1 postlogd"


def _recipients(local_parts: tuple[str, ...]) -> str:
    entries = ", ".join(f"{name}@{DOMAIN}=here" for name in local_parts)
    return f"inline:{{{entries}}}" if entries else ""


def _yes(chosen: bool) -> str:
    return "yes" if chosen else "no"
