"""Certificates as they lie on hosts: what they say, and which authority they are signed by."""

from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from backend.errors import BadDocument, plain


@dataclass(frozen=True, slots=True)
class Certificate:
    """The first certificate of a file: the one that its owner shows."""

    subject: str
    names: tuple[str, ...]
    """DNS names and addresses it is for; its common name where it lists none."""
    starts: float
    """Epoch seconds."""
    ends: float


def read_certificate(pem: str) -> Certificate:
    """Raises BadDocument where there is none that can be read."""
    first = _parsed(pem)[0]
    return Certificate(
        subject=plain(first.subject.rfc4514_string(), 160),
        names=_names(first),
        starts=first.not_valid_before_utc.timestamp(),
        ends=first.not_valid_after_utc.timestamp(),
    )


def trusts(authorities: str, shown: str) -> bool | None:
    """Whether who has these authorities (PEM) takes the first certificate of `shown` (PEM, with
    what signs it): signatures only, neither dates nor names. None: one cannot be read.
    """
    try:
        anchors, chain = _parsed(authorities), _parsed(shown)
    except BadDocument:
        return None
    reached, seen = [chain[0]], 0
    while seen < len(reached):
        of, seen = reached[seen], seen + 1
        if any(of == anchor or _signed(of, anchor) for anchor in anchors):
            return True
        reached += [one for one in chain[1:] if one not in reached and _signed(of, one)]
    return False


def _signed(of: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        of.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


@lru_cache(maxsize=512)
def _parsed(pem: str) -> tuple[x509.Certificate, ...]:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        found = []
    if not found:
        raise BadDocument("It holds no certificate that can be read.")
    return tuple(found)


def _names(of: x509.Certificate) -> tuple[str, ...]:
    try:
        listed = of.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *listed.get_values_for_type(x509.DNSName),
            *(str(ip) for ip in listed.get_values_for_type(x509.IPAddress)),
        )
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    common = (one.value for one in of.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    found = names or tuple(one if isinstance(one, str) else one.decode() for one in common)
    return tuple(plain(name, 255) for name in found)
